"""`python -m twin_edge`."""

from twin_edge.cli.app import main

main()
