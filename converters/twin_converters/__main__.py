"""`python -m twin_converters`."""

from twin_converters.cli import main

main()
