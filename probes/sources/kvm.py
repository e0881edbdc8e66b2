"""What /dev/kvm says: API version, capabilities by name, CPUID and MSRs that KVM offers to guests.

One empty VM is created and closed at once: only that shows whether KVM gets the processor's virtualization
extensions, or whether another hypervisor holds them (EBUSY).  No vCPU is made and no guest code runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict

from virtproof.kvm import CpuidEntry, Kvm, KvmError, KvmUnavailable, identify_backend
from virtproof.probes.sources import unread, why
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap

MAX_FEATURE_MSRS = 512


def read(root: str, open_kvm: Callable[[], Kvm] | None) -> dict[str, object]:
    """The snapshot's section ``kvm``; ``open_kvm`` is ``None`` for a tree that is not the running host."""
    backend = asdict(identify_backend(root))
    if open_kvm is None:
        return {"backend": backend, "unread": [unread("*", "the tree is not that of the running host")]}
    try:
        with open_kvm() as kvm:
            return {"backend": backend, **_ask(kvm)}
    except KvmUnavailable as error:
        obstacle = unread("*", f"{error.tried}: {error.saw}")
        return {"backend": backend, "cause": error.cause, "unread": [obstacle]}


def _ask(kvm: Kvm) -> dict[str, object]:
    section: dict[str, object] = {}
    missing: list[dict[str, str]] = []

    def attempt(name: str, read_it: Callable[[], object]) -> None:
        try:
            section[name] = read_it()
        except Fault as error:
            missing.append(unread(name, f"{error.tried}: {error.saw}"))
        except OSError as error:
            missing.append(unread(name, why(error)))

    attempt("api_version", kvm.api_version)
    attempt("extensions", lambda: {cap.name: kvm.check_extension(cap) for cap in Cap})
    attempt("supported_cpuid", lambda: _table(kvm.supported_cpuid()))
    attempt("emulated_cpuid", lambda: _table(kvm.emulated_cpuid()))
    attempt("msrs", lambda: [f"{index:#x}" for index in kvm.msr_index_list()])
    attempt("feature_msrs", lambda: _feature_msrs(kvm))
    attempt("create_vm", lambda: _create_vm(kvm))
    return {**section, "unread": missing}


def _table(entries: Iterable[CpuidEntry]) -> dict[str, str]:
    return {
        f"{entry.function:08x}.{entry.index:02x}": f"{entry.eax:08x} {entry.ebx:08x} {entry.ecx:08x} {entry.edx:08x}"
        for entry in entries
    }


def _feature_msrs(kvm: Kvm) -> dict[str, str]:
    values = kvm.feature_msrs(kvm.msr_feature_index_list()[:MAX_FEATURE_MSRS])
    return {f"{index:#x}": f"{value:#x}" for index, value in values.items()}


def _create_vm(kvm: Kvm) -> str:
    """``ok``, or the id of the cause and what the kernel said."""
    try:
        vm = kvm.create_vm()
    except KvmUnavailable as error:
        return f"{error.cause}: {error.saw}"
    except KvmError as error:
        return f"kvm-error: {error.saw}"
    os.close(vm)
    return "ok"
