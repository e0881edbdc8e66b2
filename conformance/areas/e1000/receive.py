"""Receiving: the ring, the buffers and what is said of a frame.

The adapter owns the descriptors from RDH up to RDT.  A frame goes into as many buffers as it needs; each descriptor gets
DD, the last one EOP.  The check sequence counts in the length unless SECRC strips it.  Where there is no descriptor the
frame is missed.
"""

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Handle, Host, Interrupts, Pic, Put
from virtproof.conformance.e1000 import (
    BROADCAST,
    GROUP,
    IRQ,
    ROUTED,
    RX_RING,
    VECTOR,
    arrives,
    cases,
    check,
    elapses,
    frame,
    read,
    received,
    receiver,
    stored,
    tagged,
    tcp,
    untouched,
    write,
)
from virtproof.spec.e1000 import (
    BUFFER_SIZES,
    CTRL,
    ICR,
    IMS,
    RADV,
    RCTL,
    RDH,
    RDT,
    RDTR,
    RXCSUM,
    Ctrl,
    Rctl,
    Rxcsum,
    Statistic,
)

ring = cases("'Receive Descriptor Queue Structure'")
descriptor = cases("'Receive Descriptor Format', 'Receive Descriptor Status Field'")
control = cases("'Receive Control Register (RCTL)'")
interrupt = cases("'Receive Interrupts'")
vlan = cases("'802.1q VLAN Support', 'Transmitting and Receiving 802.1q Packets'")
sums = cases("'Receive Packet Checksum Offloading'")

DD, EOP, IXSM, VP, TCPCS, IPCS = 1, 2, 4, 8, 0x20, 0x40
LAST = DD | EOP | IXSM
MISSED = read(Statistic.MPC, 1)
RXO, RXDMT0, RXT0 = 0x40, 0x10, 0x80
NOTHING_MISSED = read(Statistic.MPC, 0)
CHECK = bytes.fromhex("6e63957d")  # the check sequence of ``frame(60)``
BROKEN = tcp(b"payload")[:-1] + b"?"


def sizes() -> tuple[object, ...]:
    """For each code a frame of one byte more than a buffer, which takes two."""
    steps: list[object] = []
    for (bsex, bsize), size in BUFFER_SIZES.items():
        length = min(size + 1, 16380)
        steps += receiver(en=1, lpe=1, secrc=1, bsex=bsex, bsize=bsize)
        steps += (arrives(frame(length)), received(0, min(size, length), DD if size < length else LAST))
        steps += (stored(0, frame(length)[:64]), read(RDH, 2 if size < length else 1), write(RCTL, 0))
    return tuple(steps)


def falls_to(frames: int, **fields: int) -> tuple[object, ...]:
    """RXDMT0 comes with just that frame."""
    before, last, next_ = (arrives(*(frame(60) for _ in range(n))) for n in (frames - 1, 1, 1))
    return (
        receiver(en=1, secrc=1, **fields),
        *(before, read(ICR, RXT0), last, read(ICR, RXT0 | RXDMT0), next_, read(ICR, RXT0)),
    )


# fmt: off
CASES: tuple[Case, ...] = (
    descriptor("e1000.rx.one_frame",   "A frame goes into the buffer at the head, with DD, EOP and its length",
               receiver(), arrives(frame(60)), received(0, 60, LAST), stored(0, frame(60)), read(RDH, 1)),
    control("e1000.rx.secrc",          "SECRC strips the check sequence",      receiver(), arrives(frame(100)), received(0, 100, LAST)),
    control("e1000.rx.crc_counted",    "Without SECRC the check sequence is stored",
            receiver(en=1), arrives(frame(60)), received(0, 64, LAST), stored(0, frame(60) + CHECK)),
    interrupt("e1000.rx.irq_rxt0",     "A frame raises RXT0",                  receiver(), arrives(frame(60)), read(ICR, RXT0)),
    interrupt("e1000.rx.interrupts",   "A driver that waits for RXT0 is interrupted for each frame",
              ROUTED, Pic(1 << IRQ, level=1 << IRQ), Handle(VECTOR, (read(ICR),)), write(IMS, RXT0), receiver(),
              *(step for n in range(1, 5) for step in (arrives(frame(60 + n)), Interrupts(VECTOR, n), stored(n - 1, frame(60 + n))))),
    interrupt("e1000.rx.delay",        "RDTR delays RXT0",
              write(RDTR, 1000), receiver(), arrives(frame(60)), read(ICR, 0), elapses(1_023_999), read(ICR, 0), elapses(1), read(ICR, RXT0), priority=2),
    interrupt("e1000.rx.absolute_delay", "RADV bounds what further frames delay RXT0",
              write(RDTR, 1000), write(RADV, 1500), receiver(), arrives(frame(60)), elapses(1_000_000), arrives(frame(60)), elapses(535_999), read(ICR, 0),
              elapses(1), read(ICR, RXT0), elapses(1_000_000), read(ICR, 0), arrives(frame(60)), elapses(1_024_000), read(ICR, RXT0), priority=3),
    interrupt("e1000.rx.delay_again",  "... which start RDTR anew; FPD ends the delay at once",
              write(RDTR, 1000), receiver(), arrives(frame(60)), elapses(1_000_000), arrives(frame(60)), elapses(1_023_999), read(ICR, 0), elapses(1), read(ICR, RXT0),
              arrives(frame(60)), read(ICR, 0), write(RDTR, 1 << 31 | 1000), read(ICR, RXT0), read(RDTR, 1000), write(RDTR, 1 << 31 | 1000), read(ICR, 0), priority=3),
    ring("e1000.rx.rdt_ownership",     "The descriptor at the tail is not the adapter's",
         receiver(tail=0), arrives(frame(60), taken=False), read(ICR, RXO), MISSED, read(Statistic.RNBC, 1), read(RDH, 0), untouched(0)),
    ring("e1000.rx.rdt_last",          "The descriptor before the tail is the adapter's",
         receiver(tail=2), arrives(frame(60), frame(61)), arrives(frame(62), taken=False), read(RDH, 2), stored(1, frame(61)), untouched(2)),
    interrupt("e1000.rx.rxdmt0",       "RXDMT0 comes when half of the ring is left",
              receiver(), arrives(*(frame(60) for _ in range(6))), read(ICR, RXT0), arrives(frame(60)), read(ICR, RXT0 | RXDMT0), arrives(frame(60)), read(ICR, RXT0), priority=2),
    interrupt("e1000.rx.rxdmt0_quarter", "... with RDMTS = 1 a quarter", *falls_to(11, rdmts=1), priority=3),
    interrupt("e1000.rx.rxdmt0_eighth",  "... with RDMTS = 2 an eighth",  *falls_to(13, rdmts=2), priority=3),
    ring("e1000.rx.multi_buffer",      "A frame takes as many buffers as it needs, EOP in the last",
         receiver(en=1, secrc=1, bsize=3), arrives(frame(600)), received(0, 256, DD), received(1, 256, DD), received(2, 88, LAST), read(RDH, 3),
         stored(0, frame(600)[:256]), stored(1, frame(600)[256:512]), stored(2, frame(600)[512:] + bytes(8)), untouched(3)),
    control("e1000.rx.bsize_codes",    "BSIZE and BSEX say how large a buffer is", *sizes()),
    control("e1000.rx.lpe",            "Frames above 1522 bytes need LPE",
            receiver(), arrives(frame(2000)), read(RDH, 0), read(Statistic.ROC, 1), write(RCTL, Rctl(0).but(en=1, lpe=1, secrc=1)), arrives(frame(2000)), received(0, 2000, LAST), priority=2),
    control("e1000.rx.disabled",       "A disabled receiver drops frames silently",
            receiver(en=0, bam=1, secrc=1), arrives(frame(60)), read(RDH, 0), read(ICR, 0), NOTHING_MISSED, untouched(0)),
    control("e1000.rx.undersize",      "What is shorter than a header is counted, and nothing else",
            receiver(), arrives(frame(13)), read(RDH, 0), read(Statistic.RUC, 1), read(ICR, 0), untouched(0), priority=3),
    control("e1000.stats.kinds",       "Broadcasts and groups' frames are counted apart; a reset forgets all",
            receiver(en=1, secrc=1, bam=1, mpe=1), arrives(frame(60, BROADCAST), frame(60, GROUP), frame(60, GROUP), frame(60)),
            read(Statistic.BPRC, 1), read(Statistic.MPRC, 2), write(CTRL, Ctrl.rst.mask), read(Statistic.GPRC, 0), priority=3),
    ring("e1000.rx.queue_resume",      "Frames come again when there are descriptors",
         receiver(tail=0), arrives(frame(60), taken=False), Host(lambda rig: [check("told of room", 0, rig.readies)]), write(RDT, 8),
         Host(lambda rig: [check("told of room", 1, rig.readies)]), arrives(frame(60)), received(0, 60, LAST), stored(0, frame(60))),
    ring("e1000.rx.wrap",              "The head wraps at the end of the ring",
         receiver(), arrives(*(frame(60 + n) for n in range(15))), write(RDT, 14), arrives(frame(90), frame(91)), read(RDH, 1), stored(15, frame(90)), stored(0, frame(91))),
    descriptor("e1000.rx.null_buffer", "A descriptor without a buffer is passed over, with DD",
               receiver(), Put(RX_RING, bytes(16)), arrives(frame(60)), received(0, 0, DD), received(1, 60, LAST), stored(1, frame(60)), read(RDH, 2), priority=3),
    descriptor("e1000.rx.short_pad",   "Short frames arrive with 60 bytes",
               receiver(), arrives(frame(42, BROADCAST)), received(0, 60, LAST), stored(0, frame(42, BROADCAST).ljust(60, b"\0"))),
    vlan("e1000.rx.vlan_strip",        "In VLAN mode the tag goes from the frame to the descriptor",
         write(CTRL, Ctrl.vme.mask | 0x0014_0240), receiver(), arrives(tagged(5), frame(60)), received(0, 60, LAST | VP, special=5), stored(0, frame(60)), received(1, 60, LAST), priority=2),
    vlan("e1000.rx.vlan_kept",         "Without VLAN mode the tag stays", receiver(), arrives(tagged(5)), received(0, 64, LAST), stored(0, tagged(5)), priority=2),
    sums("e1000.rx.checksum",          "RXCSUM has the checksums of IP and TCP looked at",
         write(RXCSUM, Rxcsum.ipofl.mask | Rxcsum.tuofl.mask), receiver(en=1, upe=1, secrc=1), arrives(tcp(b"payload"), BROKEN, frame(60)),
         received(0, 61, DD | EOP | IPCS | TCPCS), received(1, 61, DD | EOP | IPCS | TCPCS, errors=0x20), received(2, 60, LAST), priority=2),
)
# fmt: on
