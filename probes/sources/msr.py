"""MSRs on every CPU, through ``/dev/cpu/N/msr``.  Reads only: the device is opened read-only and nothing is loaded.

An MSR that raises #GP reads as EIO: this processor, or the hypervisor below, does not have it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from virtproof.probes.cpus import group, render
from virtproof.probes.sources import under, unread, why

ReadMsr = Callable[[int], int]  # raises OSError
OpenCpu = Callable[[int], AbstractContextManager[ReadMsr]]  # raises OSError

NO_SUCH_MSR = "RDMSR raises #GP: this processor, or the hypervisor below it, does not have the register"

# Every MSR that a fact asks for, and those that explain one.  Reading them has no side effect.
WANTED = (
    0x1B,  # IA32_APIC_BASE
    0x3A,  # IA32_FEATURE_CONTROL
    0x87,  # IA32_MKTME_KEYID_PARTITIONING
    0x8B,  # IA32_BIOS_SIGN_ID / PATCH_LEVEL
    0x10A,  # IA32_ARCH_CAPABILITIES
    0x1A0,  # IA32_MISC_ENABLE
    *range(0x480, 0x494),  # VMX capabilities
    0xC000_0080,  # EFER
    0xC000_0104,  # TSC_RATIO
    0xC001_0010,  # SYSCFG
    0xC001_0015,  # HWCR
    0xC001_0114,  # VM_CR
    0xC001_0132,  # RMP_BASE
    0xC001_0133,  # RMP_END
)


def device(root: str) -> OpenCpu:
    """The msr driver of the host whose tree is at ``root``."""
    return partial(_device, root)


def read(cpus: Sequence[int], opener: OpenCpu) -> dict[str, object]:
    """The snapshot's section ``msr``: each wanted MSR on each of ``cpus``."""
    values: dict[int, list[tuple[int, str]]] = {}
    missing: dict[tuple[str, str], list[int]] = {}
    readable: list[int] = []
    for cpu in cpus:
        try:
            with opener(cpu) as read_msr:
                readable.append(cpu)
                for index in WANTED:
                    try:
                        values.setdefault(index, []).append((cpu, f"{read_msr(index):#x}"))
                    except OSError as error:
                        reason = NO_SUCH_MSR if error.errno == 5 else why(error)
                        missing.setdefault((f"{index:#x}", reason), []).append(cpu)
        except OSError as error:
            missing.setdefault(("*", f"/dev/cpu/N/msr: {why(error)}"), []).append(cpu)
    return {
        "how": {"/dev/cpu/N/msr": render(readable)} if readable else {},
        "values": {f"{index:#x}": group(pairs) for index, pairs in values.items() if pairs},
        "unread": [unread(what, reason, on) for (what, reason), on in missing.items()],
    }


@contextmanager
def _device(root: str, cpu: int) -> Iterator[ReadMsr]:
    fd = os.open(under(root, f"/dev/cpu/{cpu}/msr"), os.O_RDONLY | os.O_CLOEXEC)

    def read_msr(index: int) -> int:
        data = os.pread(fd, 8, index)
        if len(data) != 8:
            raise OSError(5, "short read")
        value: int = struct.unpack("<Q", data)[0]
        return value

    try:
        yield read_msr
    finally:
        os.close(fd)
