"""The device's side: what keeps a twin on the broker in sync with the device."""
