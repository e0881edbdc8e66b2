"""Which frames are taken: "Packet Address Filtering".

Omitted: comparing the source address (RAH.AS).
"""

from __future__ import annotations

from enum import IntEnum

from virtproof.spec import e1000
from virtproof.spec.e1000 import HASH_SHIFTS, Rctl, ReceiveAddressHigh

BROADCAST = b"\xff" * 6
TAGGED = 18  # bytes of a header with a tag
_VFE, _BAM = Rctl.vfe.mask, Rctl.bam.mask
_PROMISCUOUS = {False: Rctl.upe.mask, True: Rctl.mpe.mask}  # by whether the address is a group's


class Match(IntEnum):
    """Why a frame is taken: INEXACT is by its hash, and software has to look at the address."""

    NONE, EXACT, INEXACT = range(3)


class Filter:
    """Looks at RCTL, VET, MTA, VFTA and the receive addresses."""

    def __init__(self, registers: dict[int, int]) -> None:
        self._registers = registers
        self._addresses: frozenset[bytes] = frozenset()
        self.addresses_changed()

    def addresses_changed(self) -> None:
        """To be called when a receive address was written."""
        found = set()
        for at in range(e1000.RA, e1000.RA + 8 * e1000.ADDRESSES, 8):
            low, high = self._registers[at], ReceiveAddressHigh(self._registers[at + 4])
            if high.valid and not high.select:
                found.add(low.to_bytes(4, "little") + high.high.to_bytes(2, "little"))
        self._addresses = frozenset(found)

    def tagged(self, frame: bytes) -> bool:
        """Whether the frame has a tag of the type in VET."""
        return len(frame) >= TAGGED and frame[12] << 8 | frame[13] == self._registers[e1000.VET]

    def match(self, frame: bytes) -> Match:
        rctl = self._registers[e1000.RCTL]
        if rctl & _VFE and self.tagged(frame) and not self._vlan_allowed(frame, rctl):
            return Match.NONE
        to = frame[:6]
        if to in self._addresses:
            return Match.EXACT
        group = bool(to[0] & 1)
        if rctl & _PROMISCUOUS[group] or (to == BROADCAST and rctl & _BAM):
            return Match.EXACT
        if group and self._hashed(to, rctl):  # a broadcast, too: "Receive Control Register (RCTL)", BAM
            return Match.INEXACT
        return Match.NONE

    def _hashed(self, to: bytes, rctl: int) -> bool:
        index = (to[4] | to[5] << 8) >> HASH_SHIFTS[Rctl.mo.of(rctl)] & 0xFFF
        return bool(self._registers[e1000.MTA + 4 * (index >> 5)] >> (index & 31) & 1)

    def _vlan_allowed(self, frame: bytes, rctl: int) -> bool:
        tag = frame[14] << 8 | frame[15]
        if rctl & Rctl.cfien.mask and tag >> 12 & 1 != Rctl.cfi.of(rctl):
            return False
        vlan = tag & 0xFFF
        return bool(self._registers[e1000.VFTA + 4 * (vlan >> 5)] >> (vlan & 31) & 1)
