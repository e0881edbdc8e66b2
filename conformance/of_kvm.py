"""For rules that are about KVM itself: what of the engine and its machines is KVM's.

Each function raises ``Inapplicable`` where it is none of KVM's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from virtproof.conformance.guest import Inapplicable
from virtproof.results import Check
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmEngine, KvmVm
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.machine import Machine

WHY = "the rule is about KVM's interface"


def kvm_engine(engine: Engine) -> KvmEngine:
    """The engine."""
    if not isinstance(engine, KvmEngine):
        raise Inapplicable(WHY)
    return engine


def kvm_vm(machine: Machine) -> KvmVm:
    """The VM."""
    if not isinstance(machine.vm, KvmVm):
        raise Inapplicable(WHY)
    return machine.vm


def kvm_vcpu(machine: Machine) -> KvmVcpu:
    """The first vCPU."""
    if not isinstance(machine.vcpu, KvmVcpu):
        raise Inapplicable(WHY)
    return machine.vcpu


@contextmanager
def event() -> Iterator[int]:
    """An eventfd that does not block."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def signalled(fd: int, times: int, what: str = "events") -> Check:
    """A check of how often an eventfd was signalled since it was read last."""
    try:
        seen = os.eventfd_read(fd)
    except BlockingIOError:
        seen = 0
    return Check(what, str(times), str(seen), seen == times)
