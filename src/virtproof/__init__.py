"""virtproof: does hardware virtualization really work on this host, and if not, what exactly is wrong?"""

__version__ = "0.1.0"
