"""What a case is: one rule of the architecture as plain data.

Three kinds.  A ``Row`` is a few instructions, the state they start in and what must be observed; a trampoline runs it.
A ``Program`` is a payload of its own that reports observations.  A ``HostScript`` is Python that drives the monitor.
docs/cases.md shows how one is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from virtproof.guest_payloads.table import SetKind
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite

if TYPE_CHECKING:
    from virtproof.vmm.engine import Engine


@dataclass(frozen=True, slots=True)
class Insn:
    """One instruction: its bytes in hex, exactly as they run, and what a disassembler calls them."""

    hex: str
    text: str

    @property
    def code(self) -> bytes:
        return bytes.fromhex(self.hex)


@dataclass(frozen=True, slots=True)
class At:
    """A place in the payload image: a symbol and an offset (or, for a page, the low bits of a table entry)."""

    symbol: str
    offset: int = 0

    def __add__(self, more: int) -> At:
        return At(self.symbol, self.offset + more)


Value = int | At


@dataclass(frozen=True, slots=True)
class Set:
    """Something written before the code runs and put back afterwards.

    ``value`` replaces the old one; for control registers ``clear`` and ``set_bits`` change the mode's initial value.
    """

    kind: SetKind
    address: Value = 0
    value: Value = 0
    index: int = 0
    set_bits: int = 0
    clear: int = 0


# fmt: off
def mem8(address: Value, value: int) -> Set:           return Set(SetKind.MEM8, address, value)
def mem16(address: Value, value: int) -> Set:          return Set(SetKind.MEM16, address, value)
def mem32(address: Value, value: Value) -> Set:        return Set(SetKind.MEM32, address, value)
def mem64(address: Value, value: Value) -> Set:        return Set(SetKind.MEM64, address, value)
def cr0(*, on: int = 0, off: int = 0) -> Set:          return Set(SetKind.CR0, set_bits=on, clear=off)
def cr4(*, on: int = 0, off: int = 0) -> Set:          return Set(SetKind.CR4, set_bits=on, clear=off)
def msr(index: int, value: Value) -> Set:              return Set(SetKind.MSR, 0, value, index)
def dr(index: int, value: Value) -> Set:               return Set(SetKind.DR, 0, value, index)
def xcr0(value: int) -> Set:                           return Set(SetKind.XCR, 0, value, 0)
# fmt: on


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a memory word that are judged on their own; ``name`` is what a report calls them.

    They begin ``offset`` bytes into the word, ``size`` of them; bits that are 0 in ``mask`` are not judged.
    """

    name: str
    offset: int
    size: int
    value: int
    mask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What must be observed.  A field that is None is not judged.

    ``vector`` None: the code completes.  ``at`` and ``past`` locate the saved instruction pointer: instruction
    number ``at`` of the code, or with ``past`` the one behind it; ``rip`` names it outright; where ``at`` is None it is
    not judged, because the manuals leave it undefined.  ``regs`` are compared
    at the trap; with ``keeps`` every register that ``regs`` does not name must still hold what it was given.
    ``memory`` maps addresses to the 8 bytes that must be there, or to parts of them.  ``accesses`` is the exact
    sequence that reached the monitor.  ``stop`` names the exit that must end the guest instead of an answer.
    """

    vector: int | None = None
    error_code: int | None = None
    at: int | None = -1
    past: bool = False
    rip: Value | None = None
    cr2: Value | None = None
    dr6_set: int | None = None  # bits that must be 1 ...
    dr6_clear: int = 0  # ... and 0
    flags_set: int = 0  # of the saved RFLAGS
    flags_clear: int = 0
    handler_flags_set: int = 0
    handler_flags_clear: int = 0
    cs: int | None = None
    ss: int | None = None
    rsp: Value | None = None
    handler_ss: int | None = None
    frame: Value | None = None  # where the saved instruction pointer lies
    regs: Mapping[str, Value] = field(default_factory=dict)
    keeps: bool = True
    memory: Mapping[At, Value | tuple[Part, ...]] = field(default_factory=dict)
    accesses: tuple[Access, ...] | None = None
    stop: str | None = None


RF = 1 << 16


# fmt: off
def pio_in(port: int, size: int, value: int) -> Access:          return Access("pio", port, size, False, value)
def pio_out(port: int, size: int, value: int) -> Access:         return Access("pio", port, size, True, value)
def mmio_read(address: int, size: int, value: int) -> Access:    return Access("mmio", address, size, False, value)
def mmio_write(address: int, size: int, value: int) -> Access:   return Access("mmio", address, size, True, value)
# fmt: on


def completes(**more: Any) -> Expect:
    """The code runs to its end."""
    return Expect(**more)


def faults(vector: int, error_code: int | None = None, **more: Any) -> Expect:
    """A fault: the saved instruction pointer is that of the instruction, RF is set in the saved flags.

    Intel SDM vol. 3A, "Exception Classifications"; vol. 3B, "Resume Flag (RF)".
    """
    more.setdefault("flags_set", RF)
    return Expect(vector=vector, error_code=error_code, **more)


def traps(vector: int, **more: Any) -> Expect:
    """A trap: the saved instruction pointer is that of the next instruction, RF is clear in the saved flags."""
    more.setdefault("flags_clear", RF)
    return Expect(vector=vector, past=True, **more)


def stops(kind: str, **more: Any) -> Expect:
    """The guest ends with a KVM exit: "shutdown" or "internal error"."""
    return Expect(stop=kind, **more)


@dataclass(frozen=True, slots=True)
class Ram:
    """Guest memory beyond the 640 KiB that every guest has: guest-physical address and length in bytes."""

    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Answers:
    """A device made for one case: reads in its range are answered with ``values`` in turn, the last one repeating."""

    kind: str  # "pio" or "mmio"
    address: int
    length: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """A device made for one case: reads bring the bytes of ``data`` that lie at their address, writes are lost."""

    kind: str  # "pio" or "mmio"
    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Bytes arrive at the guest's serial port, one behind the other."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Elapse:
    """So many nanoseconds pass for the timers of devices.  In a row no other time does."""

    ns: int


Act = Receive | Elapse


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What all kinds of case have.

    ``requires`` names CPU features (``conformance.features``) without which the case is skipped.  ``proves`` names
    claims; ``discriminates`` says that the observation could not have come out so without the claimed feature.
    """

    id: str
    title: str
    area: str
    mode: Mode
    cite: tuple[Cite, ...]
    priority: int = 1
    refs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    proves: tuple[str, ...] = ()
    discriminates: bool = False
    seconds: float = 2.0  # after which the guest counts as hanging


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Case):
    """A few instructions from a known state."""

    code: tuple[Insn, ...]
    expect: Expect
    ring: int = 0
    regs: Mapping[str, Value] = field(default_factory=dict)
    flags: int = 0x2
    sets: tuple[Set, ...] = ()
    ram: tuple[Ram, ...] = ()
    fill: Mapping[Value, int] = field(
        default_factory=dict
    )  # 8 bytes at guest-physical addresses, before the guest runs
    answers: tuple[Answers | Contents, ...] = ()
    irqchip: bool = False
    serial: bool = False  # a 16550A at 0x3F8
    acts: tuple[Act, ...] = ()  # of the host, when the guest writes their index to HOST_PORT
    serial_output: bytes | None = None  # what the guest must have sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Program(Case):
    """A payload image of its own; it must report exactly ``observations`` (64-bit values), then DONE."""

    image: str
    observations: tuple[int, ...]
    memory: int = 1 << 20  # bytes
    vcpus: int = 1
    irqchip: bool = False  # local APICs
    arguments: tuple[int, ...] = ()  # 64-bit values that the program finds in its array of that name


Script = Callable[["Engine"], Iterable[Check]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostScript(Case):
    """Python that drives the monitor and says what it checked.

    ``script`` may raise ``GuestStopped`` (execute.py) where the guest gave no answer.
    """

    script: Script


def family(area: str, *cite: Cite, **defaults: Any) -> Callable[..., Row]:
    """A maker of rows that share their area, citation and whatever ``defaults`` says, for tables of one line a row."""

    def row(
        id: str,  # noqa: A002
        title: str,
        mode: Mode,
        code: Insn | Sequence[Insn],
        expect: Expect | None = None,
        **more: Any,
    ) -> Row:
        said = {"expect": expect} if expect is not None else {}
        code = (code,) if isinstance(code, Insn) else tuple(code)
        return Row(id=id, title=title, area=area, mode=mode, cite=cite, code=code, **(defaults | said | more))

    return row
