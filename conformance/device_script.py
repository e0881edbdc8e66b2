"""Cases about devices as tables: what a driver does, access by access, and what it must read.

    script(
        "bus.host.identity", "Function 0:0.0 is the host bridge", "bus", (CITE,), Board,
        ConfigRead(0x00, 0x00, 4, 0x1237_8086),
    )

The program ``accesses`` walks the table inside a guest of 64-bit mode, memory mapped to itself up to 4 GiB.  Its memory
from ``FREE`` to ``MEMORY`` (guest_payloads/accesses.py) is the case's.  Devices are what ``build`` makes of the machine
before it runs; ``Host`` steps get what it returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from virtproof.conformance.case import HostScript
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.guest import HOST_PORT, GuestStopped, Inapplicable
from virtproof.guest_payloads import accesses, program
from virtproof.guest_payloads.accesses import OBSERVING, Access, What
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.spec.pci import CONFIG_ADDRESS, CONFIG_DATA
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Irqchip, Machine

ONES = (1 << 64) - 1
MOST_ACTS = 255  # the guest calls for one by a byte, and 255 is none (accesses.c)

Expected = int | tuple[int, ...] | None  # a value, one of several, or anything
Act = Callable[[Any], Iterable[Check] | None]


@dataclass(frozen=True, slots=True)
class Out:
    """OUT ``value`` to ``port``, ``size`` bytes."""

    port: int
    size: int
    value: int


@dataclass(frozen=True, slots=True)
class In:
    """IN; only bits in ``mask`` are judged."""

    port: int
    size: int
    expect: Expected = None
    mask: int = ONES


@dataclass(frozen=True, slots=True)
class Store:
    """A store to a guest-physical address, RAM or device."""

    address: int
    size: int
    value: int


@dataclass(frozen=True, slots=True)
class Load:
    """A load."""

    address: int
    size: int
    expect: Expected = None
    mask: int = ONES


@dataclass(frozen=True, slots=True)
class Put:
    """Bytes that the host lays into guest memory before the guest starts."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Fill:
    """``length`` bytes of guest memory become ``value``, by stores of ``size`` bytes."""

    address: int
    length: int
    value: int = 0
    size: int = 8


@dataclass(frozen=True, slots=True)
class Copy:
    """``length`` bytes of guest memory go from ``source`` to ``address``."""

    address: int
    source: int
    length: int


@dataclass(frozen=True, slots=True)
class ConfigWrite:
    """A write to configuration space: ``function`` is device << 3 | function on bus 0."""

    function: int
    offset: int
    size: int
    value: int


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """A read of configuration space."""

    function: int
    offset: int
    size: int
    expect: Expected = None
    mask: int = ONES


@dataclass(frozen=True, slots=True)
class Poll:
    """Loads until ``mask`` shows ``value``; it must come."""

    address: int
    size: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class PollIn:
    """INs until ``mask`` shows ``value``; it must come."""

    port: int
    size: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class OutString:
    """REP OUTS of ``count`` items of ``size`` bytes from memory at ``source``."""

    port: int
    size: int
    source: int
    count: int


@dataclass(frozen=True, slots=True)
class InString:
    """REP INS of ``count`` items of ``size`` bytes to memory at ``address``."""

    port: int
    size: int
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class Host:
    """The host acts, with what ``build`` made of the machine; what it yields are checks."""

    act: Act


@dataclass(frozen=True, slots=True)
class Pic:
    """Open these lines of the 8259s (bits 0 to 15), with vectors from 20H; those in ``level`` are level-triggered."""

    lines: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class Handle:
    """From now on interrupts of ``vector`` are taken; ``steps`` are done in the handler before it ends the interrupt.

    What they read is not judged.  20H to 2FH are those of the 8259s, further vectors those of messages.
    """

    vector: int
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Interrupts:
    """Wait until ``vector`` was taken at least ``count`` times since the start; it must be exactly so often.

    With 0 pending interrupts are let in, and there must be none.
    """

    vector: int
    count: int


Step = (
    Out | In | Store | Load | Put | Fill | Copy | ConfigWrite | ConfigRead | Poll | PollIn | OutString | InString
    | Host | Pic | Handle | Interrupts
)  # fmt: skip
Steps = Iterable["Step | Steps"]  # what a driver's routine gives, and routines made of routines


IOAPIC_SELECT, IOAPIC_WINDOW = 0xFEC0_0000, 0xFEC0_0010


def io_apic(line: int, vector: int) -> Steps:
    """The 8259s are closed, and this line of the I/O APIC is a vector of the first processor, level-triggered."""
    yield Pic(0)
    for index, value in ((0x11 + 2 * line, 0), (0x10 + 2 * line, 1 << 15 | vector)):
        yield Store(IOAPIC_SELECT, 4, index)
        yield Store(IOAPIC_WINDOW, 4, value)


@dataclass(frozen=True, slots=True)
class Watched:
    """An access, and what is said about the value that it observes."""

    access: Access
    text: str = ""
    expect: Expected = None
    mask: int = ONES
    handled: bool = False  # in an interrupt handler, where nothing is observed

    @property
    def observed(self) -> bool:
        """Whether the program tells a value of it."""
        return self.access.what in OBSERVING and not self.handled


def script(
    id: str,  # noqa: A002
    title: str,
    area: str,
    cite: tuple[Cite, ...],
    build: Callable[[Machine], Any],
    *steps: Step | Steps,
    irqchip: bool | Irqchip | None = None,
    pit: bool = False,
    vcpus: int = 1,
    **more: Any,
) -> HostScript:
    """A case whose guest walks ``steps``.

    ``irqchip`` is there where a step is about interrupts, unless it is named.  ``more`` are fields of a case.
    Raises ValueError where the host acts more often than a guest can tell apart.
    """
    walked = tuple(flat(steps))
    if (acts := sum(map(host_acts, walked))) > MOST_ACTS:
        raise ValueError(f"{id}: {acts} acts of the host, and a guest can call {MOST_ACTS}")
    if irqchip is None:
        irqchip = pit or any(isinstance(step, Pic | Handle) for step in walked)
    said: dict[str, Any] = {"mode": Mode.LONG64, "seconds": 10.0} | more
    run = partial(walk, build=build, steps=walked, seconds=said["seconds"], irqchip=irqchip, pit=pit, vcpus=vcpus)
    return HostScript(id=id, title=title, area=area, cite=cite, script=run, **said)


def host_acts(step: Step) -> int:
    """How often the host acts in a step, those in a handler included."""
    return isinstance(step, Host) + (sum(map(host_acts, step.steps)) if isinstance(step, Handle) else 0)


def flat(steps: Steps) -> Iterator[Step]:
    """Steps and groups of them, of any depth, one behind the other."""
    for step in steps:
        if isinstance(step, Step):
            yield step
        else:
            yield from flat(step)


def walk(
    engine: Engine,
    *,
    build: Callable[[Machine], Any],
    steps: tuple[Step, ...],
    seconds: float,
    irqchip: bool | Irqchip = False,
    pit: bool = False,
    vcpus: int = 1,
) -> Iterator[Check]:
    """Boot the guest that walks ``steps`` and yield what was checked.  Raises ``GuestStopped`` where it did not end,
    ``Inapplicable`` where the engine has not so many vCPUs.
    """
    if vcpus > engine.max_vcpus:
        raise Inapplicable(f"the {engine.name} engine has machines of {engine.max_vcpus} vCPU, and this takes {vcpus}")
    acts: list[Act] = []
    watched = list(compiled(steps, acts))
    observed = [each for each in watched if each.observed]
    found: list[Check] = []

    def furnish(machine: Machine) -> None:
        built = build(machine)
        machine.bus.add_ports(HOST_PORT, 1, _Acts(acts, built, found), "host calls")
        machine.memory.load(accesses.TABLE, accesses.pack(each.access for each in watched))
        for step in steps:
            if isinstance(step, Put):
                machine.memory.load(step.address, step.data)

    ran = program.run(
        engine, "accesses", memory=accesses.MEMORY, seconds=seconds,
        vcpus=vcpus, irqchip=irqchip, pit=pit, furnish=furnish,
    )  # fmt: skip
    if not ran.done:
        how = str(ran.end) if ran.fault is None else f"{mnemonic(ran.fault)} that nobody expected"
        raise GuestStopped(how)
    yield from found
    for each, value in zip(observed, ran.observations, strict=False):
        if each.expect is not None:
            yield checked(each, value)
    read, wanted = len(ran.observations), len(observed)
    yield Check("values read", str(wanted), str(read), wanted == read)


def checked(watched: Watched, value: int) -> Check:
    """Compare a value that was observed with what is said about it."""
    wanted = watched.expect if isinstance(watched.expect, tuple) else (watched.expect,)
    mask = watched.mask
    shown = " or ".join(f"{want:#x}" for want in wanted if want is not None)
    under = "" if mask == ONES else f" & {mask:#x}"
    return Check(watched.text + under, shown, f"{value & mask:#x}", value & mask in wanted)


def compiled(steps: Iterable[Step], acts: list[Act]) -> Iterator[Watched]:
    """The accesses that make up ``steps``; acts of the host are appended to ``acts``."""
    for step in steps:
        yield from _entries(step, acts)


def _entries(step: Step, acts: list[Act]) -> Iterator[Watched]:
    # fmt: off
    match step:
        case Out(port, size, value):
            yield Watched(Access(What.OUT, size, port, value))
        case In(port, size, expect, mask):
            yield Watched(Access(What.IN, size, port), f"{size}-byte IN {port:#x}", expect, mask)
        case Store(address, size, value):
            yield Watched(Access(What.STORE, size, address, value))
        case Load(address, size, expect, mask):
            yield Watched(Access(What.LOAD, size, address), f"{size}-byte load {address:#x}", expect, mask)
        case Fill(address, length, value, size):
            yield Watched(Access(What.FILL, size, address, value, length))
        case Copy(address, source, length):
            yield Watched(Access(What.COPY, 0, address, source, length))
        case ConfigWrite(function, offset, size, value):
            yield Watched(_select(function, offset))
            yield Watched(Access(What.OUT, size, CONFIG_DATA + (offset & 3), value))
        case ConfigRead(function, offset, size, expect, mask):
            name = f"{function >> 3:02x}.{function & 7} config {offset:#04x}, {size} bytes"
            yield Watched(_select(function, offset))
            yield Watched(Access(What.IN, size, CONFIG_DATA + (offset & 3)), name, expect, mask)
        case Poll(address, size, mask, value):
            yield Watched(Access(What.POLL, size, address, value, mask), _polled("load", address, mask, value), 1)
        case PollIn(port, size, mask, value):
            yield Watched(Access(What.POLL_IN, size, port, value, mask), _polled("IN", port, mask, value), 1)
        case OutString(port, size, source, count):
            yield Watched(Access(What.OUTS, size, port, source, count))
        case InString(port, size, address, count):
            yield Watched(Access(What.INS, size, port, address, count))
        case Host(act):
            acts.append(act)
            yield Watched(Access(What.HOST, 1, 0, len(acts) - 1))
        case Pic(lines, level):
            yield Watched(Access(What.PIC, 0, 0, lines, level))
        case Handle(vector, steps):
            yield Watched(Access(What.HANDLE, 0, vector))
            yield from (Watched(each.access, handled=True) for each in compiled(steps, acts))
            yield Watched(Access(What.END), handled=True)
        case Interrupts(vector, 0):
            yield Watched(Access(What.COUNT, 0, vector), f"interrupts of vector {vector:#x}", 0)
        case Interrupts(vector, count):
            yield Watched(Access(What.WAIT, 0, vector, count), f"interrupts of vector {vector:#x}", count)
        case Put():
            pass
    # fmt: on


def _select(function: int, offset: int) -> Access:
    return Access(What.OUT, 4, CONFIG_ADDRESS, 1 << 31 | function << 8 | offset & 0xFC)


def _polled(how: str, at: int, mask: int, value: int) -> str:
    return f"{how} {at:#x} & {mask:#x} comes to {value:#x}"


class _Acts:
    """The port by which the guest has the host act."""

    def __init__(self, acts: list[Act], built: object, found: list[Check]) -> None:
        self._acts, self._built, self._found = acts, built, found

    def read(self, offset: int, size: int) -> int:
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        if value < len(self._acts):
            self._found.extend(self._acts[value](self._built) or ())
