"""Port I/O: IN, OUT, INS and OUTS as the monitor sees them."""
