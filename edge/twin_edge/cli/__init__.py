"""Command lines: wiring only, with heavy imports inside the commands."""
