"""The validation image: a bootable system that runs ``virtproof check`` on a bare machine and delivers the result."""
