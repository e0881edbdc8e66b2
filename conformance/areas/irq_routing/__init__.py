"""From a device's interrupt to a vector: PCI lines, their routing, messages."""
