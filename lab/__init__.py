"""The laboratory: other machines, emulated ones, that virtproof checks itself against."""
