"""The fault harness of the link: clients, a real broker, a proxy between them, and the ways in which it goes wrong."""
