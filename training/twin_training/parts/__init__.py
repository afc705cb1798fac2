"""Twins of fixed scenes: light over a plate, and parts that move each by itself."""
