"""Instructions that read the state of the machine at any level: they must show the guest its own."""
