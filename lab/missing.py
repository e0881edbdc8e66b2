"""What the lab needs of a machine."""

from virtproof.spec.fault import Fault


class Missing(Fault):
    """A program that is not installed, or a package that cannot be downloaded: nothing is wrong with anybody's code."""
