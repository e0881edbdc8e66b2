"""Address translation by the guest's own page tables."""
