"""Devices that reach guest memory: what they may, what they see, in which order."""
