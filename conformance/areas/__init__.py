"""The cases, by area: one package per area, one file per family of rules."""
