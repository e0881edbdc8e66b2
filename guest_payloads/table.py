"""The stimulus table: what the host asks of a trampoline, and what the guest answers.

A table is an array of ``Entry`` at the image's symbol ``table``; every field is little-endian and 64 bits wide in every
mode, so that one layout serves all of them (a 32- or 16-bit guest uses the low part).  The trampolines are
assembled against ``c_header()``, so these classes are the only place where the layout is written down.
docs/guest-protocol.md describes what a trampoline does with an entry.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

from virtproof.spec import guest_protocol
from virtproof.spec.x86.exception import EXCEPTIONS

U64 = ctypes.c_uint64

GPRS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
CODE_SIZE, SETS, PEEKS = 256, 16, 16
CAPACITY = 192  # entries between the symbol ``table`` (0x20000) and the end of low memory, with room to spare


class SetKind(IntEnum):
    """What a ``Set`` writes before the stimulus runs, and puts back afterwards."""

    MEM8 = 0
    MEM16 = 1
    MEM64 = 2
    CR0 = 3
    CR3 = 4
    CR4 = 5
    MSR = 6  # index: the MSR
    DR = 7  # index: 0-3, 6 or 7
    XCR = 8  # index: 0
    MEM32 = 9


class Phase(IntEnum):
    """What the guest was doing when it was trapped."""

    WALK = 0  # its own loop: a trap here is a bug, or a broken host
    SETUP = 1  # applying sets: the host refused one
    RUN = 2  # the stimulus


class _Set(ctypes.LittleEndianStructure):
    _fields_ = (("kind", ctypes.c_uint32), ("index", ctypes.c_uint32), ("address", U64), ("value", U64))


class Stimulus(ctypes.LittleEndianStructure):
    """From the host: the state to enter with, and the code to run.

    ``code_length`` bytes of ``code`` are copied to ``code_address`` and entered at ``cs:rip`` with ``ss:rsp``,
    ``ds`` = ``es``, ``rflags`` and all other general registers as given.  Before that the ``sets`` are applied in
    order; they are undone in reverse order afterwards.
    """

    _fields_ = (
        ("gpr", U64 * 16),
        ("rip", U64),
        ("rflags", U64),
        ("cs", U64),
        ("ss", U64),
        ("ds", U64),
        ("code_address", U64),
        ("code_length", U64),
        ("set_count", U64),
        ("peek_count", U64),
        ("code", ctypes.c_uint8 * CODE_SIZE),
        ("sets", _Set * SETS),
        ("peeks", U64 * PEEKS),  # addresses of 8 bytes to read right after the trap
        ("reserved", U64 * 7),
    )


class Observation(ctypes.LittleEndianStructure):
    """From the guest: the exception that ended the stimulus, as the processor delivered it.

    ``frame`` is the stack address at which the handler found the saved instruction pointer; ``handler_*`` are the
    handler's own registers on entry.  Without a pushed stack pointer (same privilege level outside long mode),
    ``rsp`` is computed from ``frame`` and ``ss`` is the handler's.
    """

    _fields_ = (
        ("gpr", U64 * 16),
        ("vector", U64),
        ("error_code", U64),
        ("rip", U64),
        ("cs", U64),
        ("rflags", U64),
        ("rsp", U64),
        ("ss", U64),
        ("cr2", U64),  # of a page fault; else 0
        ("dr6", U64),  # of a debug exception; else 0
        ("frame", U64),
        ("handler_rflags", U64),
        ("handler_cs", U64),
        ("handler_ss", U64),
        ("phase", U64),
        ("answered", U64),  # 1 once the fields above are valid
        ("peeked", U64 * PEEKS),
        ("old", U64 * SETS),  # what the sets replaced
        ("reserved", U64 * 65),
    )


class Entry(ctypes.LittleEndianStructure):
    """One stimulus with its observation."""

    _fields_ = (("stimulus", Stimulus), ("observation", Observation))


def c_header() -> str:
    """What payloads are assembled against: the layout, the guest protocol, which vectors push an error code."""
    lines = [f"#define ENTRY_SIZE {ctypes.sizeof(Entry)}", f"#define SET_SIZE {ctypes.sizeof(_Set)}"]
    for prefix, part, base in (
        ("STIM", Stimulus, Entry.stimulus.offset),
        ("OBS", Observation, Entry.observation.offset),
        ("SET", _Set, 0),
    ):
        lines += [f"#define {prefix}_{f[0].upper()} {base + getattr(part, f[0]).offset}" for f in part._fields_]
    lines += [f"#define PHASE_{p.name} {p.value}" for p in Phase]
    lines += [f"#define EVENT_{e.name} {e.value}" for e in guest_protocol.Event]
    pushing = " || ".join(f"(v) == {row.vector.value}" for row in EXCEPTIONS.values() if row.pushes_error_code)
    lines.append(f"#define PUSHES_ERROR_CODE(v) ({pushing})")
    lines.append(f"#define REPORT_PORT {guest_protocol.REPORT_PORT:#x}")
    lines.append(f"#define HOST_PORT {guest_protocol.HOST_PORT:#x}")
    return "\n".join(lines) + "\n"
