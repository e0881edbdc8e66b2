"""Memory-mapped I/O: accesses to guest-physical addresses that no memory slot backs."""
