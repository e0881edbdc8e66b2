"""PCI: functions with their configuration space, and the bus that wires them to a machine."""
