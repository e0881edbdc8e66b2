"""Several processors: start-up, interrupts between them, what they see of each other."""
