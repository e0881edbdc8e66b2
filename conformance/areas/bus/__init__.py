"""The PCI bus: configuration mechanism #1, base addresses, capabilities, interrupts of a function."""
