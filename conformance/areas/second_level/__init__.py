"""Guest-physical memory: what the host maps, and what the guest finds there."""
