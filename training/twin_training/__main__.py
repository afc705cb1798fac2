"""`python -m twin_training`."""

from twin_training.cli import main

main()
