"""What the host does to a guest's memory by its own means: large pages, and pages that it may not touch itself.

A slot on memory that the host has no access to is no hole: KVM_RUN fails with EFAULT, the guest has not moved, and goes
on when the slot is another.  Large pages under a slot do not blur the dirty log: it names the 4 KiB page that was
written.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript, Insn, completes, family
from virtproof.conformance.guest import HOST_PORT, check
from virtproof.conformance.host_memory import Mapping, Region
from virtproof.conformance.plain import start
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Halt
from virtproof.vmm.machine import Machine

LONG64 = Mode.LONG64
CITE = (linux("virt/kvm/api.rst", "KVM_SET_USER_MEMORY_REGION"),)
LOG = (linux("virt/kvm/api.rst", "KVM_GET_DIRTY_LOG"),)
PAGE, MIB2 = 0x1000, 1 << 21
AT, SLOT, KEPT = 0x3000_0000, 9, 0x1122_3344_5566_7788
ALL_ONES = (1 << 64) - 1
PROT_NONE = 0


def _refused(machine: Machine, mapping: Mapping, protection: int, code: bytes) -> Iterable[Check]:
    """The guest runs ``code`` on a page that the host maps with ``protection``: KVM_RUN fails, and nothing happens."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(mapping.address), ctypes.c_size_t(PAGE), protection):
        raise OSError(ctypes.get_errno(), "mprotect")
    machine.vm.set_slot(SLOT, AT, mapping)
    before = start(machine, code, rax=KEPT, rbx=AT)
    try:
        answer = str(machine.run(2.0))
    except KvmError as err:
        answer = errno.errorcode.get(err.errno, str(err.errno))
    yield Check("KVM_RUN", "EFAULT", answer, answer == "EFAULT")
    registers = machine.vcpu.registers()
    want, saw = f"{before.rip:#x} {KEPT:#x}", f"{registers.rip:#x} {registers.rax:#x}"
    yield Check("RIP, RAX", want, saw, want == saw)


def _no_write(engine: Engine) -> Iterable[Check]:
    """The guest stores to a page that the host may only read; then the host may write, and the store is done."""
    with Machine(engine) as machine, Mapping(PAGE) as mapping:
        ctypes.memset(mapping.address, 0x5A, 8)
        refused = tuple(_refused(machine, mapping, mmap.PROT_READ, b"\x48\x89\x03\xf4"))  # mov [rbx], rax; hlt
        yield from refused
        saw = ctypes.c_uint64.from_address(mapping.address).value
        yield Check("memory", "0x5a5a5a5a5a5a5a5a", f"{saw:#x}", saw == 0x5A5A_5A5A_5A5A_5A5A)
        if not refused[0].ok:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect(ctypes.c_void_p(mapping.address), ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_WRITE)
        end = machine.run(2.0)
        saw = ctypes.c_uint64.from_address(mapping.address).value
        yield Check("then the guest ends with", "HLT", str(end), isinstance(end, Halt))
        yield Check("memory then", f"{KEPT:#x}", f"{saw:#x}", saw == KEPT)


def _no_access(engine: Engine) -> Iterable[Check]:
    """The guest loads from a page that the host may not read; then the slot is deleted, and the load finds a hole."""
    with Machine(engine) as machine, Mapping(PAGE) as mapping:
        refused = tuple(_refused(machine, mapping, PROT_NONE, b"\x48\x8b\x03\xf4"))  # mov rax, [rbx]; hlt
        yield from refused
        if not refused[0].ok:
            return
        machine.vm.delete_slot(SLOT)
        end, rax = machine.run(2.0), machine.vcpu.registers().rax
        yield Check("then the guest ends with", "HLT", str(end), isinstance(end, Halt))
        yield Check("RAX", f"{ALL_ONES:#x}", f"{rax:#x}", rax == ALL_ONES)


def _large_pages(engine: Engine) -> Iterable[Check]:
    """2 MiB that the guest has used as a large page; then the log is switched on and one byte written."""
    logs: list[int] = []
    with Mapping(2 * MIB2) as mapping:
        mapping.pages.madvise(mmap.MADV_HUGEPAGE)
        region = Region(-(-mapping.address // MIB2) * MIB2, MIB2)
        ctypes.memset(region.address, 0, region.size)

        def furnish(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, AT, region)

        def log_on(machine: Machine) -> None:
            machine.vm.set_slot(SLOT, AT, region, log_dirty=True)

        def read_log(machine: Machine) -> None:
            logs.append(int.from_bytes(machine.vm.dirty_log(SLOT), "little"))

        yield from check(LARGE, engine, furnish=furnish, calls={1: log_on, 2: read_log})
    want = 1 << 5
    yield Check("dirty pages", f"{want:#x}", " ".join(f"{log:#x}" for log in logs), logs == [want])


# fmt: off
STORE, STORE_5 = Insn("88 03", "mov byte ptr [rbx], al"), Insn("88 06", "mov byte ptr [rsi], al")
CALL, CALL_2   = Insn("ee", "out dx, al"), (Insn("b0 02", "mov al, 2"), Insn("ee", "out dx, al"))
LARGE = family("second_level", *LOG)("slat.dirty_huge", "", LONG64, (STORE, STORE_5, CALL, STORE_5, *CALL_2), completes(keeps=False),
                                     regs={"rax": 1, "rdx": HOST_PORT, "rbx": AT, "rsi": AT + 5 * PAGE + 7})

CASES: tuple[Case, ...] = (
    HostScript(id="slat.hva_unmapped", title="Memory that the host has no access to ends KVM_RUN with EFAULT", area="second_level", mode=LONG64, cite=CITE, script=_no_access),
    HostScript(id="slat.mprotect", title="A store to memory that the host may only read ends KVM_RUN with EFAULT", area="second_level", mode=LONG64, cite=CITE, script=_no_write, priority=2),
    HostScript(id="slat.dirty_huge",   title="The dirty log is exact to 4 KiB under large pages",              area="second_level", mode=LONG64, cite=LOG,  script=_large_pages),
)
# fmt: on
