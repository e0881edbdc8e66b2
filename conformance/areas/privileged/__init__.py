"""Privileged instructions, I/O permission, and the flags that only some levels may change."""
