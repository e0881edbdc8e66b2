"""Which engine runs guests on this host: the one a user asks for, or the best there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.spec.fault import Fault
from virtproof.vmm.engine import Engine

CHOICES = ("auto", "kvm")


class EngineUnavailable(Fault):
    """The engine that is asked for, or any at all, cannot be used here."""


@contextmanager
def open_engine(choice: str = "auto") -> Iterator[Engine]:
    """Open the engine ``choice``, one of ``CHOICES``, for as long as the context lasts.

    Forked processes inherit it.  Raises EngineUnavailable.
    """
    if choice not in CHOICES:
        raise ValueError(f"no engine {choice!r}")
    from virtproof.vmm.engines.kvm import KvmEngine  # noqa: PLC0415 -- what is not asked for is not imported

    try:
        kvm = Kvm.open()
    except KvmUnavailable as fault:
        raise EngineUnavailable(fault.tried, fault.saw, fault.remedy) from fault
    with kvm:
        yield KvmEngine(kvm)
