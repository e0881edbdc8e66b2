"""Which engine runs guests on this host: the one a user asks for, or the best there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from virtproof.kvm import Kvm, KvmUnavailable
from virtproof.spec.fault import Fault
from virtproof.vmm.engine import Engine

CHOICES = ("auto", "kvm", "software")


class EngineUnavailable(Fault):
    """The engine that is asked for, or any at all, cannot be used here."""


@contextmanager
def open_engine(choice: str = "auto") -> Iterator[Engine]:
    """Open the engine ``choice``, one of ``CHOICES``, for as long as the context lasts.

    "auto" is KVM where it can be used, else the software engine.  Forked processes inherit what is opened.
    Raises EngineUnavailable.
    """
    match choice:
        case "kvm":
            opened = _kvm
        case "software":
            opened = _software
        case "auto":
            opened = _best
        case _:
            raise ValueError(f"no engine {choice!r}")
    with opened() as engine:
        yield engine


@contextmanager
def _kvm() -> Iterator[Engine]:
    from virtproof.vmm.engines.kvm import KvmEngine  # noqa: PLC0415 -- what is not asked for is not imported

    try:
        kvm = Kvm.open()
    except KvmUnavailable as fault:
        raise EngineUnavailable(fault.tried, fault.saw, fault.remedy) from fault
    with kvm:
        yield KvmEngine(kvm)


@contextmanager
def _software() -> Iterator[Engine]:
    from virtproof.vmm.engines.software import SoftwareEngine, SoftwareUnavailable  # noqa: PLC0415

    try:
        engine = SoftwareEngine()
    except SoftwareUnavailable as fault:
        raise EngineUnavailable(fault.tried, fault.saw, fault.remedy) from fault
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _best() -> Iterator[Engine]:
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(_kvm())
        except EngineUnavailable as no_kvm:
            try:
                engine = stack.enter_context(_software())
            except EngineUnavailable as no_software:
                saw = f"{no_kvm.saw}; nor can the software engine be used: {no_software.saw}"
                remedy = f"{no_kvm.remedy}; or {no_software.remedy}"
                raise EngineUnavailable(no_kvm.tried, saw, remedy) from no_software
        yield engine
