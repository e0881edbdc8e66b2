"""The e1000 of a case: a board with the adapter and the other end of its cable, and what its driver does, as steps.

Time stands still for the adapter but in ``elapses``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from virtproof.conformance.cable import Cable
from virtproof.conformance.case import Case, HostScript, programs_of
from virtproof.conformance.device_script import ConfigWrite, Host, Load, Put, Step, Steps, Store, script
from virtproof.conformance.guest import check_program
from virtproof.guest_payloads.accesses import FREE
from virtproof.results import Check
from virtproof.spec import e1000
from virtproof.spec.cite import Cite
from virtproof.spec.e1000 import Rctl, Tctl
from virtproof.spec.e1000_descriptors import Context, ContextOffsets, Data, Legacy
from virtproof.vmm.board import Board
from virtproof.vmm.devices.e1000.nic import E1000, Model
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.machine import Machine
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.segment import checksum

MANUAL = "Intel 8254x SDM (317453)"
AT = 3 << 3  # device and function number
BAR, IO = 0xE000_0000, 0xC000
IRQ, VECTOR = 11, 0x2B
ISA_BRIDGE, PIRQ_ROUTES = 1 << 3, 0x60
ROUTED = ConfigWrite(ISA_BRIDGE, PIRQ_ROUTES, 4, IRQ * 0x0101_0101)

TX_RING, RX_RING, BUFFERS, FRAMES = FREE, FREE + 0x1_0000, FREE + 0x2_0000, FREE + 0x10_0000
BUFFER = 0x4000  # bytes between receive buffers
COUNT = 16  # descriptors of a ring
LOOKS = 20  # of the event loop, after which there is nothing left to do

MAC = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("525400aaaaaa")
GROUP = bytes.fromhex("01005e0102fb")
BROADCAST = b"\xff" * 6


class Rig(Cable):
    """The board, the adapter, and the far end of its cable."""

    def __init__(self, machine: Machine, model: Model = "82540em") -> None:
        super().__init__()
        self.machine, self.board = machine, Board(machine)
        self.clock = ManualClock()
        self.events = EventLoop(self.clock)
        self.nic = E1000(MAC, self, self.events.after, model=model)
        self.board.add(self.nic, slot=AT >> 3)
        self.nic.function.place([BAR, IO])


def cases(where: str, **defaults: object) -> Callable[..., HostScript]:
    """A maker of cases that cite a part of the manual: id, title, steps; ``model`` names the adapter."""
    cite = (Cite(MANUAL, where),)

    def case(
        id: str,  # noqa: A002
        title: str,
        *steps: Step | Steps,
        model: Model = "82540em",
        area: str = "e1000",
        **more: object,
    ) -> HostScript:
        return script(id, title, area, cite, partial(Rig, model=model), *steps, **(defaults | more))  # type: ignore[arg-type]

    return case


def with_loopback(machine: Machine, model: Model = "82540em") -> E1000:
    """A board with an adapter that gets back what it sends, and that nobody has placed."""
    nic = E1000(MAC, Loopback(machine.after), machine.after, model=model)
    Board(machine).add(nic, slot=AT >> 3)
    return nic


def programs(area: str, where: str) -> Callable[..., HostScript]:
    """A maker of cases about a test of guest_payloads/devices/e1000.c: id, title, test, what it observes, arguments.

    ``furnish`` adds an adapter to the machine.
    """
    program = programs_of(area, "e1000", Cite(MANUAL, where), memory=4 << 20, seconds=30.0)

    def case(*row: Any, furnish: Callable[[Machine], object] = with_loopback, **more: Any) -> HostScript:
        made = program(*row, **more)

        def add(machine: Machine) -> None:
            furnish(machine)

        return HostScript(
            script=partial(check_program, made, furnish=add),
            **{field.name: getattr(made, field.name) for field in fields(Case)},
        )

    return case


# Registers


def write(register: int, value: int) -> Store:
    return Store(BAR + register, 4, value)


def read(register: int, expect: int | None = None, mask: int = e1000.ALL) -> Load:
    return Load(BAR + register, 4, expect, mask)


# The host's part


def check(name: str, wanted: object, saw: object) -> Check:
    return Check(name, str(wanted), str(saw), wanted == saw)


def elapses(ns: int) -> Host:
    """So much time passes for the adapter."""

    def act(rig: Rig) -> None:
        rig.clock.advance(ns)
        rig.events.poll()

    return Host(act)


def settles() -> Host:
    """The adapter does all that it still has to do now, and comes to rest."""

    def act(rig: Rig) -> Iterator[Check]:
        for _ in range(LOOKS):
            rig.events.poll()
        due = rig.events.next_deadline()
        yield check("work without an end", False, due is not None and due <= rig.clock.now())

    return Host(act)


def link(up: bool) -> Host:
    return Host(lambda rig: rig.nic.set_link(up))


def leaves(*frames: bytes) -> Host:
    """Just these frames have left so far."""

    def act(rig: Rig) -> Iterator[Check]:
        yield check("frames sent", len(frames), len(rig.sent))
        for n, (wanted, saw) in enumerate(zip(frames, rig.sent, strict=False)):
            yield check(f"frame {n}", wanted.hex(" "), saw.hex(" "))

    return Host(act)


def arrives(*frames: bytes, taken: bool = True) -> Host:
    """Frames come over the cable; ``taken`` is what the adapter says of each."""

    def act(rig: Rig) -> Iterator[Check]:
        yield check("frames taken", [taken] * len(frames), [rig.receive(frame) for frame in frames])

    return Host(act)


def holds(address: int, data: bytes) -> Host:
    """Guest memory has this at an address."""

    def act(rig: Rig) -> Iterator[Check]:
        yield check(f"memory at {address:#x}", data.hex(" "), rig.machine.memory.read(address, len(data)).hex(" "))

    return Host(act)


def untouched(index: int, count: int = 1) -> tuple[Host, ...]:
    """Nothing was stored in these receive buffers, nor in their descriptors."""
    return tuple(
        step
        for n in range(index, index + count)
        for step in (holds(BUFFERS + BUFFER * n, bytes(64)), holds(RX_RING + 16 * n + 8, bytes(8)))
    )


# Transmitting


@dataclass(frozen=True, slots=True)
class Queued:
    """A descriptor: its word, and what its address is, or the data that lie there."""

    word: int
    data: bytes | int


def legacy(data: bytes | int, **fields: int) -> Queued:
    """One that ends its frame, unless ``eop`` says not."""
    length = len(data) if isinstance(data, bytes) else 0
    return Queued(Legacy(0).but(**({"length": length, "eop": 1} | fields)), data)


def piece(data: bytes | int, **fields: int) -> Queued:
    """A data descriptor."""
    length = len(data) if isinstance(data, bytes) else 0
    return Queued(Data(0).but(**({"length": length, "eop": 1, "dext": 1, "dtyp": 1} | fields)), data)


def context(offsets: Mapping[str, int], **fields: int) -> Queued:
    return Queued(Context(0).but(dext=1, **fields), int(ContextOffsets(0).but(**offsets)))


def lay(*queued: Queued, first: int = 0, ring: int = TX_RING) -> Iterator[Put]:
    """Descriptors and their data in memory before the guest starts."""
    at = FRAMES + 0x1_0000 * first
    for index, each in enumerate(queued, first):
        if isinstance(each.data, bytes):
            yield Put(at, each.data)
            address, at = at, at + len(each.data)
        else:
            address = each.data
        yield Put(ring + 16 * index, address.to_bytes(8, "little") + int(each.word).to_bytes(8, "little"))


def transmitter(count: int = COUNT, *, ring: int = TX_RING, **fields: int) -> tuple[Step, ...]:
    """Set the ring up and enable it."""
    return (
        write(e1000.TDBAL, ring & e1000.ALL),
        write(e1000.TDBAH, ring >> 32),
        write(e1000.TDLEN, 16 * count),
        write(e1000.TDH, 0),
        write(e1000.TDT, 0),
        write(e1000.TCTL, Tctl(0).but(**({"en": 1} | fields))),
    )


def sends(*queued: Queued, **fields: int) -> tuple[Step, ...]:
    """The whole of it: descriptors from the start of a fresh ring, and the doorbell."""
    return (*lay(*queued), *transmitter(**fields), write(e1000.TDT, len(queued)))


def done(index: int, expect: int = 1) -> Load:
    """The status of a transmit descriptor."""
    return Load(TX_RING + 16 * index + 12, 1, expect)


# Receiving


def buffers(count: int = COUNT) -> Iterator[Put]:
    """Receive descriptors with a buffer each."""
    for index in range(count):
        yield Put(RX_RING + 16 * index, (BUFFERS + BUFFER * index).to_bytes(8, "little"))


def receiver(tail: int = COUNT - 1, *, count: int = COUNT, ring: int = RX_RING, **fields: int) -> tuple[Step, ...]:
    """Set the ring up and enable it; without ``fields`` CRCs are stripped and broadcasts taken."""
    return (
        *buffers(),
        write(e1000.RDBAL, ring & e1000.ALL),
        write(e1000.RDBAH, ring >> 32),
        write(e1000.RDLEN, 16 * count),
        write(e1000.RDH, 0),
        write(e1000.RDT, tail),
        write(e1000.RCTL, Rctl(0).but(**({"en": 1} | (fields or {"secrc": 1, "bam": 1})))),
    )


def received(index: int, length: int, status: int, *, errors: int = 0, special: int = 0) -> Load:
    """What the adapter wrote into a receive descriptor, but for the checksum of the packet."""
    expect = length | status << 32 | errors << 40 | special << 48
    return Load(RX_RING + 16 * index + 8, 8, expect, 0xFFFF_FFFF_0000_FFFF)


def stored(index: int, data: bytes) -> Host:
    return holds(BUFFERS + BUFFER * index, data)


# Frames


def frame(size: int = 60, to: bytes = MAC, kind: int = 0x88B5) -> bytes:
    """An Ethernet frame of so many bytes, with a pattern."""
    head = to + OTHER + kind.to_bytes(2, "big")
    return (head + bytes(n & 0xFF for n in range(size)))[:size]


IP, TCP, HEADERS = 14, 34, 54  # offsets in what ``tcp`` makes
OFFSETS = {"ipcss": IP, "ipcso": IP + 10, "ipcse": TCP - 1, "tucss": TCP, "tucso": TCP + 16, "tucse": 0}


def tcp(payload: bytes, *, ident: int = 0x1234, sequence: int = 0x1000, flags: int = 0x10, sums: bool = True) -> bytes:
    """A frame of TCP over IPv4; without ``sums`` as a driver leaves what is to be
    cut: no sum of IP, and for TCP that of the pseudo header without the length.
    """
    length = len(payload) + HEADERS - TCP
    ip = bytearray.fromhex("4500 0000 0000 4000 4006 0000 0a000001 0a000002")
    ip[2:4], ip[4:6] = (length + TCP - IP).to_bytes(2, "big"), ident.to_bytes(2, "big")
    pseudo = bytes(ip[12:20]) + b"\0\6" + length.to_bytes(2, "big")
    header = bytearray.fromhex("1000 2000 00000000 00002000 5000 ffff 0000 0000")
    header[4:8], header[13] = sequence.to_bytes(4, "big"), flags
    if sums:
        ip[10:12] = (~checksum(ip) & 0xFFFF).to_bytes(2, "big")
        header[16:18] = (~checksum(pseudo + bytes(header) + payload) & 0xFFFF).to_bytes(2, "big")
    else:
        header[16:18] = checksum(pseudo[:-2]).to_bytes(2, "big")
    return OTHER + MAC + b"\x08\x00" + bytes(ip) + bytes(header) + payload


def tagged(tag: int, size: int = 64, to: bytes = MAC) -> bytes:
    plain = frame(size - 4, to)
    return plain[:12] + b"\x81\x00" + tag.to_bytes(2, "big") + plain[12:]
