"""Trap handling: exceptions, their delivery, and the instructions that must trap."""
