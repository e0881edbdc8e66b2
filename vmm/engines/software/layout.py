"""Where Unicorn keeps the parts of a processor's state that its interface does not show, and a check that it is so.

The processor is QEMU's ``CPUX86State``.  Nothing here is taken on trust: registers are set through Unicorn's own
interface and must turn up at the places named below, and two faults must leave their error code where it is expected.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from unicorn import Uc

CHECKED = ("2.1.4",)  # versions of Unicorn whose layout and behaviour this engine was written against
REMEDY = "install the engine's own version: pip install 'virtproof[software]'"

_u32, _u64, _i32 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32


class SoftwareUnavailable(Fault):
    """The software engine cannot be used: Unicorn is missing, or not one that is known."""


class SegmentCache(ctypes.Structure):
    """A segment register with its hidden part; ``flags`` are bits 32 to 63 of the descriptor."""

    _fields_ = (("selector", _u32), ("base", _u64), ("limit", _u32), ("flags", _u32))


class State(ctypes.Structure):
    """The head of CPUX86State."""

    _fields_ = (
        ("regs", _u64 * 16),
        ("rip", _u64),
        ("rflags", _u64),
        ("cc_dst", _u64),
        ("cc_src", _u64),
        ("cc_src2", _u64),
        ("cc_op", _u32),
        ("df", _i32),
        ("hflags", _u32),
        ("hflags2", _u32),
        ("segments", SegmentCache * 6),  # ES CS SS DS FS GS
        ("ldt", SegmentCache),
        ("tr", SegmentCache),
        ("gdt", SegmentCache),
        ("idt", SegmentCache),
        ("cr", _u64 * 9),
        ("a20_mask", _i32),
        ("bounds", _u64 * 11),
        ("efer", _u64),
    )


class Events(ctypes.Structure):
    """The part of CPUX86State about exceptions, which lies around the debug registers."""

    _fields_ = (
        ("error_code", _i32),
        ("is_software", _i32),
        ("next_rip", _u64),
        ("dr", _u64 * 8),
        ("breakpoints", _u64 * 4),
        ("old_exception", _i32),
    )


class Later(ctypes.Structure):
    """The part of CPUX86State from LSTAR on."""

    _fields_ = (
        ("lstar", _u64),
        ("cstar", _u64),
        ("fmask", _u64),
        ("kernel_gs_base", _u64),
        ("tsc", _u64),
        ("tsc_adjust", _u64),
        ("tsc_deadline", _u64),
        ("tsc_aux", _u64),
        ("xcr0", _u64),
    )


class Private(NamedTuple):
    """The private state of one Unicorn instance."""

    state: State
    events: Events
    later: Later


class _Layout(NamedTuple):
    """Offsets in bytes: of the state from the CPU object, of the others from the state."""

    state: int
    events: int
    later: int


def library() -> ctypes.CDLL:
    """Return the shared library behind the Python package.  Raises SoftwareUnavailable."""
    try:
        from unicorn.unicorn_py3.unicorn import uclib  # noqa: PLC0415 -- an optional extra, and heavy
    except ImportError as err:
        raise SoftwareUnavailable("start the software engine", f"the package unicorn: {err}", REMEDY) from err
    found: ctypes.CDLL = uclib
    if version() not in CHECKED:
        saw = f"unicorn {version()}, whose insides are not known; {' and '.join(CHECKED)} is"
        raise SoftwareUnavailable("start the software engine", saw, REMEDY)
    return found


def version() -> str:
    """Return the version of the library, which is not always that of the package."""
    from unicorn.unicorn_py3.unicorn import uclib  # noqa: PLC0415

    combined = uclib.uc_version(None, None)
    return ".".join(str(combined >> shift & 0xFF) for shift in (24, 16, 8))


def check() -> None:
    """Raises SoftwareUnavailable where Unicorn is missing, or is not laid out as this engine expects."""
    _checked()


def private(uc: Uc) -> Private:
    """Return the private state of ``uc``, which lives as long as it does.  Raises SoftwareUnavailable."""
    layout = _checked()
    uc.mem_read(0, 0)  # an instance is initialized by the first call that needs it to be
    state = _cpu(library(), uc) + layout.state
    return Private(
        State.from_address(state),
        Events.from_address(state + layout.events),
        Later.from_address(state + layout.later),
    )


def _cpu(lib: ctypes.CDLL, uc: Uc) -> int:
    try:
        get = lib.qemu_get_cpu_x86_64
    except AttributeError as err:
        raise _unknown("it does not give its CPU") from err
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]
    found: int | None = get(uc._uch, -1)  # the only CPU has no index
    if not found:
        raise _unknown("it does not give its CPU")
    return found


def _unknown(saw: str) -> SoftwareUnavailable:
    return SoftwareUnavailable("find the processor's state in Unicorn", saw, REMEDY)


@functools.cache
def _checked() -> _Layout:
    """Find the layout with an instance of its own, and check it.  Raises SoftwareUnavailable naming what is not so."""
    lib = library()
    from unicorn import UC_ARCH_X86, UC_HOOK_INTR, UC_MODE_64, Uc, UcError  # noqa: PLC0415
    from unicorn import x86_const as names  # noqa: PLC0415

    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    try:
        magic = 0x5A17_BEEF_0BAD_F00D
        uc.reg_write(names.UC_X86_REG_RAX, magic)
        cpu = _cpu(lib, uc)
        state_at = _where(cpu, magic, "RAX", 0xC000)
        state = State.from_address(cpu + state_at)
        uc.reg_write(names.UC_X86_REG_DR0, magic + 1)
        dr0_at = _where(cpu + state_at, magic + 1, "DR0", 0x2000)
        events_at = dr0_at - Events.dr.offset
        events = Events.from_address(cpu + state_at + events_at)
        uc.msr_write(0xC000_0082, magic + 2)
        later_at = _where(cpu + state_at, magic + 2, "LSTAR", 0x4000)
        later = Later.from_address(cpu + state_at + later_at)
        uc.msr_write(0xC000_0102, 0x6666)
        uc.msr_write(0xC000_0103, 0x7777)
        if (later.kernel_gs_base, later.tsc_aux, later.xcr0) != (0x6666, 0x7777, 0b11):
            raise _unknown("XCR0 is not where it should be")
        written = {
            "R15": (names.UC_X86_REG_R15, 0x1111, lambda: state.regs[15]),
            "CR2": (names.UC_X86_REG_CR2, 0x2222, lambda: state.cr[2]),
            "CR8": (names.UC_X86_REG_CR8, 0x5, lambda: state.cr[8]),
            "DR7": (names.UC_X86_REG_DR7, 0x400, lambda: events.dr[7]),
            "RFLAGS": (names.UC_X86_REG_EFLAGS, 0x202, lambda: state.rflags & 0x200 | 2),
            "IDTR": (
                names.UC_X86_REG_IDTR,
                (0, 0x3333_0000, 0x123, 0),
                lambda: (0, state.idt.base, state.idt.limit, 0),
            ),
            "TR": (
                names.UC_X86_REG_TR,
                (0x28, 0x4444_0000, 0x67, 0x8B00),
                lambda: (state.tr.selector, state.tr.base, state.tr.limit, state.tr.flags),
            ),
        }
        seen: Callable[[], object]
        for name, (register, value, seen) in written.items():
            uc.reg_write(register, value)
            if seen() != value:  # type: ignore[no-untyped-call]
                raise _unknown(f"{name} is not where it should be")
        uc.msr_write(0xC000_0080, 0x501)
        if state.efer != 0x501:
            raise _unknown("EFER is not where it should be")
        if events.old_exception != -1 or state.a20_mask != -1:
            raise _unknown("the exception at hand is not where it should be")
        seen_vectors: list[tuple[int, int, int]] = []

        def on_exception(uc: Uc, vector: int, data: object) -> None:
            seen_vectors.append((vector, events.error_code, events.is_software))
            uc.emu_stop()

        uc.hook_add(UC_HOOK_INTR, on_exception)
        uc.mem_map(0, 0x1000)
        uc.reg_write(names.UC_X86_REG_GDTR, (0, 0, 0, 0))
        uc.mem_write(0, bytes.fromhex("b878560000 8ed8"))  # mov eax, 5678h; mov ds, eax
        uc.emu_start(0, 0x800)
        if state.rip != 5:
            raise _unknown("RIP is not where it should be")
        events.old_exception = -1
        uc.mem_write(0x100, bytes.fromhex("cd55"))  # int 55h
        uc.emu_start(0x100, 0x800)
        if seen_vectors != [(13, 0x5678, 0), (0x55, 0, 1)]:
            raise _unknown(f"faults are reported as {seen_vectors}")
    except UcError as err:
        raise _unknown(f"it refuses what it should do: {err}") from err
    return _Layout(state_at, events_at, later_at)


def _where(base: int, value: int, name: str, limit: int) -> int:
    """Offset from ``base`` of the only place with the 64-bit ``value``."""
    memory, needle = ctypes.string_at(base, limit), struct.pack("<Q", value)
    found = memory.find(needle)
    if found < 0 or memory.find(needle, found + 1) >= 0:
        raise _unknown(f"{name} is not where it should be")
    return found
