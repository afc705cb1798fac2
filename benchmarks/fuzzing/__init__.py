"""Fuzzing: mutated samples through every parser of bytes from outside."""
