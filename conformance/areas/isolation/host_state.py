"""The host's own registers are the same after a guest has used them.

KVM loads the guest's registers into the processor and the host's again before KVM_RUN returns; some only where a user
process could tell.  So this thread is that process: a few bytes of machine code set XMM0 to XMM15, note what else a
process can read, call KVM_RUN, and note it again.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from virtproof.conformance.case import Case, HostScript, Insn
from virtproof.conformance.guest import GuestStopped, Inapplicable
from virtproof.conformance.host_memory import Mapping
from virtproof.conformance.plain_guest import enter
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux, sdm
from virtproof.spec.kvm import ExitReason, Ioctl
from virtproof.spec.kvm.run import Run
from virtproof.spec.x86.control import Cr4
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm_vcpu import KvmVcpu
from virtproof.vmm.machine import Machine

CITE = (
    linux("virt/kvm/api.rst", "KVM_RUN"),
    sdm("3C", "VM Exits, 'Loading Host State'"),
)
SYSCALL_IOCTL = 16


class Noted(ctypes.Structure):
    """What the machine code is given, and what it notes before and after the system call."""

    _fields_ = (
        ("fd", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("answer", ctypes.c_int64),
        ("fs_0", ctypes.c_uint64 * 2),  # where FS leads: the first word of the thread's own block
        ("xcr0", ctypes.c_uint64 * 2),
        ("tsc_aux", ctypes.c_uint64 * 2),
        ("pkru", ctypes.c_uint64 * 2),
        ("xmm", ctypes.c_uint64 * 32 * 2),
    )


def _at(name: str, index: int = 0) -> bytes:
    """The ModRM displacement (32 bits from RBX) of a word of Noted."""
    return struct.pack("<i", getattr(Noted, name).offset + 8 * index)


def _machine_code(flags: frozenset[str]) -> bytes:
    """A function of the address of Noted; ``flags`` as /proc/cpuinfo names them."""

    def note(when: int) -> bytes:
        code = b"\x64\x48\x8b\x04\x25\0\0\0\0" + b"\x48\x89\x83" + _at("fs_0", when)  # mov rax, fs:[0]; mov [..], rax
        if "xsave" in flags:
            code += b"\x31\xc9\x0f\x01\xd0\x89\x83" + _at("xcr0", when)  # xor ecx, ecx; xgetbv; mov [..], eax
        if "rdtscp" in flags:
            code += b"\x0f\x01\xf9\x89\x8b" + _at("tsc_aux", when)  # rdtscp; mov [..], ecx
        if "ospke" in flags:
            code += b"\x31\xc9\x0f\x01\xee\x89\x83" + _at("pkru", when)  # xor ecx, ecx; rdpkru; mov [..], eax
        return code

    def move(opcode: int, when: int) -> bytes:  # movups, all 16 registers
        return b"".join(
            (b"\x44" if n > 7 else b"") + bytes((0x0F, opcode, 0x83 | (n & 7) << 3)) + _at("xmm", 32 * when + 2 * n)
            for n in range(16)
        )

    call = (
        b"\xb8" + struct.pack("<i", SYSCALL_IOCTL)  # mov eax, 16
        + b"\x48\x8b\xbb" + _at("fd") + b"\x48\x8b\xb3" + _at("request")  # mov rdi, [fd]; mov rsi, [request]
        + b"\x31\xd2\x0f\x05"  # xor edx, edx; syscall
        + b"\x48\x89\x83" + _at("answer")  # mov [answer], rax
    )  # fmt: skip
    return b"\x53\x48\x89\xfb" + note(0) + move(0x10, 0) + call + move(0x11, 1) + note(1) + b"\x5b\xc3"


def cpu_flags() -> frozenset[str]:
    """The features of this processor that the kernel names."""
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def run_natively(machine: Machine) -> Noted:
    """One KVM_RUN from machine code.

    Raises ``GuestStopped`` where it does not end by the guest's OUT, and ``Inapplicable`` where there is no KVM_RUN.
    """
    vcpu = machine.vcpu
    if not isinstance(vcpu, KvmVcpu):
        raise Inapplicable("guests of this engine do not run by KVM_RUN")
    noted = Noted(fd=vcpu.fd, request=int(Ioctl.RUN))
    for n in range(32):
        noted.xmm[0][n] = 0xA5A5_0000_0000_0000 + n
    code = _machine_code(cpu_flags())
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page[: len(code)] = code
        view = ctypes.c_char.from_buffer(page)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(view))(ctypes.addressof(noted))
        del view
    with mmap.mmap(vcpu.fd, mmap.PAGESIZE) as shared:
        reason = Run.from_buffer_copy(shared[: ctypes.sizeof(Run)]).exit_reason
    if noted.answer or reason != ExitReason.IO:
        raise GuestStopped(str(machine.run(1.0)))
    return noted


@dataclass(frozen=True, slots=True)
class Use:
    """What the guest does with a register, and what of the host's is compared."""

    code: tuple[Insn, ...]
    field: str
    cr4: int = 0
    flag: str = ""  # of this processor, without which there is nothing to compare


def _unchanged(use: Use, engine: Engine) -> Iterable[Check]:
    if use.flag and use.flag not in cpu_flags():
        raise Inapplicable(f"this processor, or this kernel, has no {use.flag}")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # IA32_TSC_AUX holds the processor's number
    try:
        with Machine(engine, cpuid=engine.supported_cpuid()) as machine:
            enter(machine, (*use.code, OUT), cr4=use.cr4, rbx=images.load("long64")["kernel_data"])
            noted = run_natively(machine)
    finally:
        os.sched_setaffinity(0, before)
    was, now = (" ".join(f"{v:#x}" for v in _words(getattr(noted, use.field)[n])) for n in (0, 1))
    yield Check(f"the host's {use.field.upper()}", was, now, was == now)


def _words(value: object) -> list[int]:
    return list(value) if isinstance(value, ctypes.Array) else [value]  # type: ignore[list-item]


# ---- debug registers: a watchpoint of the host's, as perf_event_open(2) sets it

PERF_EVENT_OPEN, PERF_TYPE_BREAKPOINT, ATTRIBUTES = 298, 5, 112
HW_BREAKPOINT_W, WATCHED = 2, 8
EXCLUDE_KERNEL_AND_HYPERVISOR = 1 << 5 | 1 << 6


def _watch(address: int) -> int:
    """A counter of this thread's writes to 8 bytes.  Raises ``Inapplicable`` where the kernel refuses it."""
    attributes = bytearray(ATTRIBUTES)
    struct.pack_into("<II", attributes, 0, PERF_TYPE_BREAKPOINT, ATTRIBUTES)
    struct.pack_into("<Q", attributes, 40, EXCLUDE_KERNEL_AND_HYPERVISOR)
    struct.pack_into("<IQQ", attributes, 52, HW_BREAKPOINT_W, address, WATCHED)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * ATTRIBUTES).from_buffer(attributes)
    fd: int = libc.syscall(PERF_EVENT_OPEN, ctypes.byref(buffer), 0, -1, -1, 0)
    if fd < 0:
        raise Inapplicable(f"no watchpoint on this host: perf_event_open says {os.strerror(ctypes.get_errno())}")
    return fd


def _watchpoint(engine: Engine) -> Iterable[Check]:
    """Three writes before the guest, whose own breakpoints are on, and four behind it."""
    with Mapping(mmap.PAGESIZE) as watched, Machine(engine) as machine:
        fd = _watch(watched.address)
        try:
            word = ctypes.c_uint64.from_address(watched.address)

            def write(times: int) -> int:
                for n in range(times):
                    word.value = n
                return int.from_bytes(os.read(fd, 8), "little")

            first = write(3)
            enter(machine, (*BREAKPOINTS, OUT), rbx=0x4000_0000)
            run_natively(machine)
            both = write(4)
        finally:
            os.close(fd)
    yield Check("hits of the host's watchpoint", "3, then 7", f"{first}, then {both}", (first, both) == (3, 7))


# fmt: off
OUT = Insn("e6 80", "out 0x80, al")
LOAD_XMM = (Insn("0f 10 03", "movups xmm0, xmmword ptr [rbx]"), Insn("44 0f 10 3b", "movups xmm15, xmmword ptr [rbx]"))
XCR0_1   = (Insn("31 c9", "xor ecx, ecx"), Insn("31 d2", "xor edx, edx"), Insn("b8 01 00 00 00", "mov eax, 1"), Insn("0f 01 d1", "xsetbv"))
FS_GS    = (Insn("b9 00 01 00 c0", "mov ecx, 0xc0000100"), Insn("31 d2", "xor edx, edx"), Insn("b8 78 56 34 12", "mov eax, 0x12345678"), Insn("0f 30", "wrmsr"),
            Insn("ff c1", "inc ecx"), Insn("0f 30", "wrmsr"))
TSC_AUX  = (Insn("b9 03 01 00 c0", "mov ecx, 0xc0000103"), Insn("31 d2", "xor edx, edx"), Insn("b8 78 56 34 12", "mov eax, 0x12345678"), Insn("0f 30", "wrmsr"))
PKRU     = (Insn("31 c9", "xor ecx, ecx"), Insn("31 d2", "xor edx, edx"), Insn("b8 ff ff ff ff", "mov eax, 0xffffffff"), Insn("0f 01 ef", "wrpkru"))
BREAKPOINTS = (Insn("0f 23 c3", "mov dr0, rbx"), Insn("0f 23 cb", "mov dr1, rbx"), Insn("0f 23 d3", "mov dr2, rbx"), Insn("0f 23 db", "mov dr3, rbx"),
               Insn("b8 55 05 dd dd", "mov eax, 0xdddd0555"), Insn("0f 23 f8", "mov dr7, rax"))

TABLE: tuple[tuple[str, str, int, Use, tuple[str, ...]], ...] = (
    ("iso.host_fpu",    "The host's XMM registers are its own behind a guest that loads them",  1, Use(LOAD_XMM, "xmm", cr4=Cr4.osfxsr.mask), ()),
    ("iso.host_xcr0",   "The host's XCR0 is its own behind a guest with a smaller one",         1, Use(XCR0_1, "xcr0", cr4=Cr4.osxsave.mask, flag="xsave"), ("xsave",)),
    ("iso.host_fsgs",   "FS leads the host to its own behind a guest that loads FS and GS",     1, Use(FS_GS, "fs_0"), ()),
    ("iso.host_tscaux", "IA32_TSC_AUX is the host's own behind a guest that writes it",         2, Use(TSC_AUX, "tsc_aux", flag="rdtscp"), ("rdtscp",)),
    ("iso.pkru.host",   "PKRU is the host's own behind a guest that denies itself everything",  2, Use(PKRU, "pkru", cr4=Cr4.pke.mask, flag="ospke"), ("pku",)),
)
# fmt: on


def script(
    id: str,  # noqa: A002
    title: str,
    priority: int,
    run: Callable[[Engine], Iterable[Check]],
    requires: tuple[str, ...] = (),
) -> Case:
    return HostScript(
        id=id, title=title, area="isolation", mode=Mode.LONG64, cite=CITE, script=run, priority=priority, requires=requires
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    *(
        script(id_, title, priority, partial(_unchanged, use), requires)
        for id_, title, priority, use, requires in TABLE
    ),
    script(
        "iso.host_dr", "A watchpoint of the host's hits behind a guest that uses the debug registers", 2, _watchpoint
    ),
)
