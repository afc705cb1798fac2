"""MQTT itself: addresses, connections that are kept up, and a broker to try things with."""
