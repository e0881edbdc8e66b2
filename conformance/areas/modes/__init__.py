"""Modes and their registers: what may be loaded, and what must be refused."""
