"""What no driver does with an e1000: rings that are none, lengths that lie, buffers in its own registers, endless work.

Nothing happens outside the guest's memory, no doorbell takes for ever, and after a reset the adapter works.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.device_script import Host, In, Out, Put, Step
from virtproof.conformance.e1000 import (
    BAR,
    COUNT,
    FRAMES,
    HEADERS,
    IO,
    MAC,
    OFFSETS,
    RX_RING,
    TX_RING,
    Queued,
    Rig,
    arrives,
    check,
    context,
    done,
    frame,
    holds,
    lay,
    leaves,
    legacy,
    piece,
    programs,
    read,
    receiver,
    sends,
    settles,
    tcp,
    transmitter,
    with_loopback,
    write,
)
from virtproof.conformance.e1000 import cases as cases_of
from virtproof.results import Check
from virtproof.spec import e1000
from virtproof.spec.e1000 import CTRL, ICR, ICS, MDIC, RDH, RDT, TDBAH, TDBAL, TDH, TDLEN, TDT, Ctrl, Statistic
from virtproof.spec.e1000_phy import RESET as PHY_REGISTERS
from virtproof.vmm.machine import Machine

HOLE, ROM = 0xFEBC_0000, 0x1000_0000
SPARE, SPARE_FRAME = FRAMES + 0xE_0000, FRAMES + 0xE_1000
GOOD, LATER = frame(60), frame(61)
ONES = 0xFFFF_FFFF


def works_after(*steps: Step | Iterable[Step]) -> Iterator[Step | Iterable[Step]]:
    """The steps, and then a reset and one frame sent."""
    yield from steps
    yield (
        Put(SPARE_FRAME, LATER),
        Put(SPARE, SPARE_FRAME.to_bytes(8, "little") + int(legacy(LATER).word).to_bytes(8, "little")),
    )
    yield write(CTRL, Ctrl.rst.mask), *transmitter(ring=SPARE), write(TDT, 1), settles(), Host(sent_last)


def sent_last(rig: Rig) -> Iterator[Check]:
    yield check("the last frame sent", LATER.hex(" "), rig.sent[-1].hex(" ") if rig.sent else "none")


def hostile(where: str) -> Any:
    made = cases_of(where)

    def case(id: str, title: str, *steps: Step | Iterable[Step], **more: Any) -> HostScript:  # noqa: A002
        return made(f"hostile.e1000.{id}", title, *works_after(*steps), area="hostile", **more)

    return case


tx_ring = hostile("'Transmit Descriptor Ring Structure'")
rx_ring = hostile("'Receive Descriptor Queue Structure'")
formats = hostile("'Legacy Transmit Descriptor Format'")
cutting = hostile("'TCP Segmentation'")
contexts = hostile("'TCP/IP Context Transmit Descriptor Format'")
vlan = hostile("'802.1q VLAN Support'")
dma = hostile("'PCI Bus Operation'")
loop = hostile("'Receive Control Register (RCTL)', LBM")
reset = hostile("'Software Reset'")
mdic = hostile("'MDI Control Register (MDIC)'")
window = hostile("'I/O-Mapped Internal Register, Internal Memory, and Flash'")
peer = hostile("'Packet Reception'")


def at_most(laps: int) -> Host:
    """No more frames left than the ring has descriptors, so many times."""

    def act(rig: Rig) -> Iterator[Check]:
        yield Check("frames sent", f"at most {laps * COUNT}", str(len(rig.sent)), len(rig.sent) <= laps * COUNT)

    return Host(act)


def kept_small(rig: Rig) -> Iterator[Check]:
    held = len(rig.nic.transmitter.state()["frame"]) // 2
    yield Check("bytes of a frame without an end", "at most 16380", str(held), held <= 16380)


def dropped(count: int) -> Host:
    return Host(lambda rig: [check("frames dropped", count, rig.nic.transmitter.dropped)])


def laps(*tails: int) -> Iterator[Step]:
    for tail in tails:
        yield write(TDT, tail)
        yield settles()


def segmented(payload: bytes, **fields: int) -> tuple[Queued, Queued]:
    good = {"tcp": 1, "ip": 1, "tse": 1, "hdrlen": HEADERS, "mss": 1000, "paylen": len(payload)}
    return context(OFFSETS, **(good | fields)), piece(tcp(payload, sums=False), tse=1, rs=1)


def frames_of(*sizes: int) -> Host:
    return Host(lambda rig: [check("bytes of the frames sent", list(sizes), [len(sent) for sent in rig.sent])])


def nowhere() -> Iterator[Step]:
    """Receive buffers in ROM, in a hole, in the adapter's own registers, beyond all addresses; then one that is good."""
    for index, address in enumerate((ROM, HOLE, BAR + TDT, (1 << 64) - 16)):
        yield Put(RX_RING + 16 * index, address.to_bytes(8, "little"))
    yield arrives(*[GOOD] * 5)
    yield read(RDH, 5)
    yield holds(ROM, bytes(64))
    yield read(TDT, 0)


def over_itself() -> Iterator[Step]:
    """Buffers in the ring that names them."""
    shuffle = random.Random(4)
    for index in range(COUNT):
        yield Put(RX_RING + 16 * index, (RX_RING + 8 * index).to_bytes(8, "little"))
    for _ in range(40):
        noise = MAC + shuffle.randbytes(500)
        yield Host(lambda rig, noise=noise: rig.receive(noise) and None)  # type: ignore[misc]
        yield write(RDT, shuffle.randrange(COUNT))


def every_operation() -> Iterator[Step]:
    ready, error = 1 << 28, 1 << 30
    for operation in range(4):
        for phy in range(3):
            for register in range(32):
                fine = phy == 1 and operation in (1, 2) and register in PHY_REGISTERS
                yield write(MDIC, operation << 26 | phy << 21 | register << 16)
                yield read(MDIC, ready if fine else ready | error, ready | error)


def misplaced() -> Iterator[Step]:
    for address in (ONES, 0x2_0000, 0x29, 0x2A):
        yield from (Out(IO, 4, address), Out(IO + 4, 4, ONES), In(IO + 4, 4, 0))
    yield from (Out(IO, 4, 0x28), Out(IO + 4, 1, 0xFF), Out(IO + 4, 2, ONES & 0xFFFF), In(IO + 4, 4, 0), In(IO + 5, 2))
    yield from (Out(IO + 8, 4, ONES), In(IO + 8, 4, 0), In(IO + 0x3C, 4, 0))


def flood(rig: Rig) -> Iterator[Check]:
    yield check("frames taken of 100000", 0, sum(rig.receive(GOOD) for _ in range(100_000)))
    yield check("timers started", None, rig.events.next_deadline())


def unlike_frames(rig: Rig) -> Iterator[Check]:
    yield check("taken", [True] * 4, [rig.receive(b"\xff" * size) for size in (0, 1, 13, 70_000)])


def nulls() -> Iterator[Step]:
    for index in range(COUNT):
        yield Put(RX_RING + 16 * index, bytes(16))


def with_a_late_cause(machine: Machine) -> None:
    nic = with_loopback(machine)
    machine.after(50_000_000, lambda: nic.write(ICS, 4, 0x04))


driven = programs("hostile", "'Register Descriptions'")

BARE = tcp(b"payload", sums=False)
TAG = Ctrl.vme.mask | 0x0014_0240

# fmt: off
CASES: tuple[Case, ...] = (
    tx_ring("tdlen_zero",       "A ring of length 0 is none",                       lay(legacy(GOOD)), transmitter(), write(TDLEN, 0), write(TDT, 5), settles(), leaves(), read(TDH, 0)),
    tx_ring("tdh_beyond",       "A head outside of the ring",                       lay(legacy(GOOD)), transmitter(8), write(TDH, 0xFFFF), write(TDT, 1), settles(), leaves(), read(TDH, 0xFFFF)),
    tx_ring("tdt_beyond",       "A tail outside of the ring: one lap at most",      lay(*[legacy(GOOD)] * COUNT), transmitter(), write(TDT, 0xFFFF), settles(), at_most(1)),
    tx_ring("ring_in_hole",     "A ring where no memory is, or in the adapter's own registers",
            transmitter(), *(step for base in (HOLE, BAR, BAR + ICR) for step in (write(TDBAL, base), write(TDT, 5), settles(), write(TDT, 0), settles())), leaves()),
    tx_ring("ring_wrap64",      "A ring over the end of all addresses",             transmitter(), write(TDBAL, ONES), write(TDBAH, ONES), write(TDT, 5), settles(), leaves(), read(TDH, 0)),
    dma("desc_dma_own_bar",     "Data from the adapter's own registers are zeros, and reading them does nothing",
        write(ICS, 0x04), sends(legacy(BAR + TDT, length=60), legacy(BAR + ICR, length=60)), leaves(bytes(60), bytes(60)), read(ICR, 0x06), read(TDT, 2)),
    formats("len_zero",         "A frame of no bytes is none",                      sends(legacy(b"", rs=1), legacy(GOOD), psp=1), done(0), leaves(GOOD)),
    formats("no_eop_forever",   "A frame without an end is not kept beyond what a frame may have",
            lay(*[legacy(FRAMES, length=0xFFFF, eop=0)] * COUNT), transmitter(), *laps(15, 14, 13, 12), Host(kept_small), leaves(), write(TDT, 0)),
    formats("no_eop_small",     "Nor is it where its pieces are small",             lay(*[legacy(FRAMES, length=2000, eop=0)] * COUNT), transmitter(), *laps(8, 15, 14, 13), Host(kept_small), leaves()),
    formats("len_max",          "No frame of more than 16 KiB leaves",
            sends(*[legacy(FRAMES, length=0xFFFF, eop=0)] * 13, legacy(FRAMES, length=0xFFFF), legacy(GOOD)), settles(), dropped(1), leaves(GOOD)),
    cutting("tso_mss_zero",     "Segments of no bytes are not sent",                sends(*segmented(bytes(2000), mss=0), legacy(GOOD)), settles(), done(1), dropped(1), leaves(GOOD)),
    cutting("tso_hdrlen_over",  "Headers longer than the frame",                    sends(*segmented(bytes(6), hdrlen=255), legacy(GOOD)), settles(), done(1), dropped(1), leaves(GOOD)),
    cutting("tso_paylen_lie",   "PAYLEN beside the data: as many segments as the data make",
            sends(*segmented(bytes(2500), paylen=0xF_FFFF), *segmented(bytes(2500), paylen=1)), settles(), frames_of(*[1054, 1054, 554] * 2)),
    contexts("csum_oob",        "Checksums outside of the frame change nothing",
             sends(*(each for field in ("ipcso", "tucso", "ipcss", "tucss") for each in (context(OFFSETS | {field: 255}, tcp=1), piece(BARE, **{"ixsm" if field[0] == "i" else "txsm": 1}))),
                   context(OFFSETS | {"ipcse": 3, "tucse": 3}, tcp=1), piece(BARE, ixsm=1, txsm=1)), leaves(*[BARE] * 5)),
    vlan("vlan_short",          "A tag for a frame that has no room for it",        write(CTRL, TAG), sends(legacy(bytes(4), vle=1, rs=1), legacy(bytes(13), vle=1)), done(0), frames_of(17), priority=2),
    rx_ring("rdlen_zero",       "A receive ring of length 0 holds nothing",         receiver(count=0), arrives(GOOD, taken=False), read(Statistic.MPC, 1), read(RDH, 0)),
    rx_ring("rdh_beyond",       "A receive head outside of the ring",               receiver(), write(RDH, 0xFFFF), arrives(*[GOOD] * 3, taken=False), read(Statistic.MPC, 3)),
    rx_ring("rx_null_all",      "A ring of descriptors without buffers is passed over once",
            receiver(), nulls(), arrives(*[GOOD] * 3, taken=False), read(RDH, 15), read(Statistic.MPC, 3)),
    dma("rx_buffer_rom",        "Frames for buffers that cannot be written go nowhere", Host(lambda rig: rig.machine.memory.add(ROM, 0x1000, read_only=True) and None), receiver(), nowhere()),
    rx_ring("rx_buffer_over_ring", "Buffers over the ring that names them",         receiver(en=1, upe=1, mpe=1, lpe=1), over_itself(), priority=2),
    reset("reset_in_pieces",    "A reset between two pieces of the work ends it",
          lay(*[legacy(FRAMES, length=60, rs=1)] * 600), transmitter(608), write(TDT, 600), write(CTRL, Ctrl.rst.mask), settles(),
          Host(lambda rig: [check("frames sent", 256, len(rig.sent))]), done(255, 1), done(256, 0), read(TDH, 0)),
    driven("hostile.e1000.reset_in_tx", "After another processor's reset no descriptor is written back", "reset_from_elsewhere", (0, 0), 2, 3, vcpus=2),
    loop("loopback_recursion",  "Loop-back into the ring that is sent from",
         lay(*[legacy(GOOD, rs=1)] * COUNT), receiver(ring=TX_RING, en=1, lbm=3, upe=1), transmitter(), *laps(15, 3, 9, 2, 15, 1), leaves(), write(e1000.RCTL, 0)),
    mdic("mdic_fuzz",           "Every operation on every register of three PHYs: READY, and ERROR where there is none", every_operation(), priority=2),
    driven("hostile.e1000.eecd_fuzz", "100000 random values of the EEPROM's pins", "random_pins", (0x1200,), 100_000),
    window("ioaddr_oob",        "IOADDR beyond the registers, unaligned, or in part", misplaced(), read(e1000.FCAL, 0)),
    peer("rx_flood",            "100000 frames and no buffer: all are counted, none is kept", receiver(tail=0), Host(flood), read(Statistic.MPC, 100_000), read(RDH, 0)),
    peer("host_giant",          "Frames of no size that there is",                  receiver(en=1, upe=1, mpe=1, bam=1, lpe=1), Host(unlike_frames), read(RDH, 0), read(Statistic.GPRC, 0)),
    driven("hostile.e1000.icr_poll_storm", "The host goes on while ICR is polled without a pause", "poll_for_ever", (0x04,), furnish=with_a_late_cause, priority=2),
)
# fmt: on
