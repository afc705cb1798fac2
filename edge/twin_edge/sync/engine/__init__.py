"""The link engine: what is to be sent is kept here, in memory and on the disk, until the broker has it."""
