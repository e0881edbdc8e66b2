"""Guests that do what no driver does: the monitor lives, and the device says what it must."""
