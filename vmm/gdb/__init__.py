"""A GDB stub: GDB manual, appendix "GDB Remote Serial Protocol"."""
