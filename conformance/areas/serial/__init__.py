"""COM1: the 16550A, as a guest drives it through its ports."""
