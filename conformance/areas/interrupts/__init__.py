"""Interrupt controllers and what they bring about: local APIC, I/O APIC, 8259, and the monitor in their place."""
