"""The registers a debugger sees, as rows, and the target description that tells it so.

GDB manual, "Target Descriptions", "i386 Features": a feature with one of GDB's names has registers with GDB's names and
sizes.  What GDB has no feature for, control and table registers, is in one of ours; GDB shows what it is told of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from virtproof.spec.fault import Fault
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.fxsave import Fxsave
from virtproof.vmm.registers import Registers, SpecialRegisters

CORE, SSE, SEGMENTS = "org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse", "org.gnu.gdb.i386.segments"
SYSTEM = "org.virtproof.x86.system"


class State(NamedTuple):
    """All registers of one vCPU; changed in place."""

    general: Registers
    special: SpecialRegisters
    fpu: Fxsave


class Register(NamedTuple):
    """A register as the debugger knows it, and where it is in a ``State``.

    ``place`` is a path: "general.rax", "special.cs.selector", "fpu.xmm.3".
    """

    name: str
    bits: int
    type: str
    feature: str
    place: str

    @property
    def size(self) -> int:
        """In bytes, of which each takes two digits in a packet."""
        return self.bits // 8

    def read(self, state: State) -> bytes:
        part, name, *rest = self.place.split(".")
        if part == "fpu":
            return _read_fpu(state.fpu, name, rest).ljust(self.size, b"\0")
        value = getattr(getattr(state, part), name)
        if rest:
            value = getattr(value, rest[0])
        return int(value & (1 << self.bits) - 1).to_bytes(self.size, "little")

    def write(self, state: State, data: bytes) -> None:
        """Change ``state``.  Raises Fault for a selector: it would need the descriptor loaded with it."""
        if data == self.read(state):
            return
        part, name, *rest = self.place.split(".")
        value = int.from_bytes(data, "little")
        if part == "fpu":
            _write_fpu(state.fpu, name, rest, data)
        elif not rest:
            setattr(getattr(state, part), name, value)
        elif rest[0] == "selector":
            raise Fault(f"set {self.name}", "a selector alone says nothing of the segment")
        else:
            setattr(state.special, name, getattr(state.special, name)._replace(**{rest[0]: value}))


class RegisterFile(NamedTuple):
    """What one architecture of GDB has, numbered from 0 in this order."""

    architecture: str
    registers: tuple[Register, ...]

    @property
    def description(self) -> bytes:
        """The target description, as XML."""
        return "".join(self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        yield '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n<target version="1.0">\n'
        yield f"<architecture>{self.architecture}</architecture>\n"
        for feature in (CORE, SSE, SEGMENTS, SYSTEM):
            rows = [row for row in self.registers if row.feature == feature]
            if rows:
                yield f'<feature name="{feature}">\n'
                yield _FLAGS if feature == CORE else ""
                yield from (f'<reg name="{row.name}" bitsize="{row.bits}" type="{row.type}"/>\n' for row in rows)
                yield "</feature>\n"
        yield "</target>\n"


_FLAG_NAMES = {  # GDB has no IOPL, and no name for the bit that is always one
    flag.lo: "" if flag is Rflags.one else flag.name.strip("_").upper() for flag in Rflags.FIELDS if flag.lo == flag.hi
}
_FLAGS = (
    '<flags id="i386_eflags" size="4">\n'
    + "".join(f'<field name="{name}" start="{bit}" end="{bit}"/>\n' for bit, name in _FLAG_NAMES.items())
    + "</flags>\n"
)

_TYPES = {"rip": "code_ptr", "rsp": "data_ptr", "rbp": "data_ptr"}
_CONTROL = {  # reserved reads zero: 64-bit mode has no selectors of the last instruction and operand
    "fctrl": "fcw",
    "fstat": "fsw",
    "ftag": "ftw",
    "fiseg": "reserved",
    "fioff": "fip",
    "foseg": "reserved",
    "fooff": "fdp",
    "fop": "fop",
}


def _general(names: str, bits: int) -> Iterator[Register]:
    """Rows with the 64-bit names of the registers that GDB calls ``names``."""
    for name in names.split():
        long = name if bits == 64 else f"r{name[1:]}"
        yield Register(name, bits, _TYPES.get(long, f"int{bits}"), CORE, f"general.{long}")


def _rows(general: str, bits: int) -> Iterator[Register]:
    # fmt: off
    yield from _general(general, bits)
    yield Register("eflags", 32, "i386_eflags", CORE, "general.rflags")
    for name in ("cs", "ss", "ds", "es", "fs", "gs"):
        yield Register(name, 32, "int32", CORE, f"special.{name}.selector")
    for n in range(8):
        yield Register(f"st{n}", 80, "i387_ext", CORE, f"fpu.st.{n}")
    for name, field in _CONTROL.items():
        yield Register(name, 32, "int", CORE, f"fpu.{field}")
    for n in range(16 if bits == 64 else 8):
        yield Register(f"xmm{n}", 128, "uint128", SSE, f"fpu.xmm.{n}")
    yield Register("mxcsr", 32, "int32", SSE, "fpu.mxcsr")
    if bits == 64:
        yield Register("fs_base", 64, "int64", SEGMENTS, "special.fs.base")
        yield Register("gs_base", 64, "int64", SEGMENTS, "special.gs.base")
    for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer"):
        yield Register(name, 64, "uint64", SYSTEM, f"special.{name}")
    for name in ("gdt", "idt"):
        yield Register(f"{name}_base",  64, "uint64", SYSTEM, f"special.{name}.base")
        yield Register(f"{name}_limit", 16, "uint16", SYSTEM, f"special.{name}.limit")
    for name in ("ldt", "tr"):
        yield Register(name, 16, "uint16", SYSTEM, f"special.{name}.selector")
    # fmt: on


FILES = {
    64: RegisterFile(
        "i386:x86-64",
        tuple(_rows("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip", 64)),
    ),
    32: RegisterFile("i386", tuple(_rows("eax ecx edx ebx esp ebp esi edi eip", 32))),
}


def _read_fpu(fpu: Fxsave, name: str, index: list[str]) -> bytes:
    if index:
        row = bytes(getattr(fpu, name)[int(index[0])])
        return row[:10] if name == "st" else row
    if name == "ftw":
        return _full_tag(fpu.ftw).to_bytes(4, "little")
    return int(getattr(fpu, name) & 0xFFFF_FFFF).to_bytes(4, "little")


def _write_fpu(fpu: Fxsave, name: str, index: list[str], data: bytes) -> None:
    if index:
        row = getattr(fpu, name)[int(index[0])]
        row[: len(data)] = data
    elif name == "ftw":
        tags = int.from_bytes(data, "little")
        fpu.ftw = sum(1 << n for n in range(8) if tags >> 2 * n & 3 != 3)
    else:
        setattr(fpu, name, int.from_bytes(data, "little"))


def _full_tag(abridged: int) -> int:
    """Return the tag word of FSAVE for the one of FXSAVE; what is in use is said to be valid, be it zero or special."""
    return sum(0 if abridged >> n & 1 else 0b11 << 2 * n for n in range(8))
