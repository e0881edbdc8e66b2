"""Features a host says it has, each in four layers, with the cause named where one does not hold."""

from virtproof.probes.claims.catalogue import claims

__all__ = ["claims"]
