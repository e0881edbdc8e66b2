"""Which frames are taken.

A unicast address must be one of the sixteen receive addresses, a group's one of those whose hash is in MTA; UPE, MPE and
BAM take whole kinds.  With VFE a frame with a tag needs its VLAN in VFTA besides.
"""

from collections.abc import Iterator

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Step
from virtproof.conformance.e1000 import (
    BROADCAST,
    GROUP,
    OTHER,
    arrives,
    cases,
    frame,
    read,
    received,
    receiver,
    tagged,
    write,
)
from virtproof.spec.e1000 import MTA, RA, RDH, VFTA

address = cases("'Packet Address Filtering'")
control = cases("'Receive Control Register (RCTL)'")
group = cases("'Multicast Table Array (MTA)'")
vlan = cases("'VLAN Filter Table Array (VFTA)', '802.1q VLAN Packet Filtering'")


def takes(*frames: bytes, **fields: int) -> Iterator[Step]:
    """With those bits of RCTL these frames are stored."""
    yield from receiver(**({"en": 1} | fields))
    yield arrives(*frames)
    yield read(RDH, len(frames))


def drops(*frames: bytes, **fields: int) -> Iterator[Step]:
    """With those bits of RCTL none of these frames is."""
    yield from receiver(**({"en": 1} | fields))
    yield arrives(*frames)
    yield read(RDH, 0)


def hashed(to: bytes, low: int) -> tuple[int, int]:
    """The word of MTA, and the bit in it, that stands for an address by its bits from ``low`` on."""
    index = int.from_bytes(to, "little") >> low & 0xFFF
    return MTA + 4 * (index >> 5), 1 << (index & 31)


def listed(mo: int, low: int) -> Iterator[Step]:
    at, bit = hashed(GROUP, low)
    yield write(at, bit)
    yield from takes(frame(60, GROUP), mo=mo)
    yield write(at, 0xFFFF_FFFF & ~bit)
    yield from drops(frame(60, GROUP), mo=mo)
    yield write(at, 0)


DD, EOP, IXSM, PIF = 1, 2, 4, 0x80
OWN, FOREIGN, MANY, ALL = frame(60), frame(60, OTHER), frame(60, GROUP), frame(60, BROADCAST)

# fmt: off
CASES: tuple[Case, ...] = (
    address("e1000.rx.filter_unicast", "A unicast address must be a receive address",
            takes(OWN), drops(FOREIGN), write(RA + 8 * 15, int.from_bytes(OTHER[:4], "little")), write(RA + 8 * 15 + 4, int.from_bytes(OTHER[4:], "little")),
            drops(FOREIGN), write(RA + 8 * 15 + 4, int.from_bytes(OTHER[4:], "little") | 1 << 31), takes(FOREIGN, OWN), write(RA + 4, 0), drops(OWN)),
    control("e1000.rx.filter_upe_mpe", "UPE takes every unicast address, MPE every group's",
            drops(FOREIGN, MANY), takes(FOREIGN, OWN, upe=1), drops(MANY, upe=1), takes(MANY, mpe=1), drops(FOREIGN, mpe=1)),
    control("e1000.rx.filter_bam",     "Broadcasts need BAM", drops(ALL), takes(ALL, bam=1), drops(MANY, bam=1)),
    group("e1000.rx.filter_mta",       "A group's address must have its bit in MTA, by the bits that MO names",
          listed(0, 36), listed(1, 35), listed(2, 34), listed(3, 32), priority=2),
    control("e1000.rx.broadcast_hash", "Without BAM a broadcast is one of the groups: it needs its bit in MTA, and gets PIF",
            drops(ALL), write(MTA + 4 * 127, 1 << 31), takes(ALL), received(0, 64, DD | EOP | IXSM | PIF), drops(MANY), write(MTA + 4 * 127, 0x7FFF_FFFF), drops(ALL), priority=3),
    vlan("e1000.rx.filter_vlan",       "With VFE a tag must be of a VLAN in VFTA",
         takes(tagged(5)), drops(tagged(5), vfe=1), write(VFTA, 1 << 5), takes(tagged(5), tagged(0xE005), OWN, vfe=1), drops(tagged(6), tagged(0x25), vfe=1),
         write(VFTA + 4 * 127, 1 << 31), takes(tagged(0xFFF), vfe=1), priority=2),
    vlan("e1000.rx.cfi",               "With CFIEN a tag's CFI must be that of RCTL",
         write(VFTA, 1 << 5), takes(tagged(5), tagged(0x1005), vfe=1), takes(tagged(0xE005), vfe=1, cfien=1), drops(tagged(0x1005), vfe=1, cfien=1),
         takes(tagged(0xF005), OWN, vfe=1, cfien=1, cfi=1), drops(tagged(5), vfe=1, cfien=1, cfi=1), takes(tagged(5), vfe=1, cfi=1), takes(tagged(0x1005), cfien=1), priority=3),
)
# fmt: on
