"""What goes over the wire: topics, JSON messages, and a bundle in blocks."""
