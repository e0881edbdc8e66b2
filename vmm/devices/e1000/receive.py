"""From the cable into memory: "Packet Reception"."""

from __future__ import annotations

import zlib
from struct import iter_unpack

from virtproof.spec import e1000
from virtproof.spec.e1000 import BUFFER_SIZES, CRC, Cause, Ctrl, Rctl, Rxcsum, Statistic
from virtproof.spec.e1000_descriptors import SIZE, Receive
from virtproof.vmm.devices.e1000.checked import checked
from virtproof.vmm.devices.e1000.filters import Filter, Match
from virtproof.vmm.devices.e1000.interrupts import Delay, Interrupts
from virtproof.vmm.devices.e1000.ring import Ring
from virtproof.vmm.devices.e1000.statistics import Statistics
from virtproof.vmm.network.segment import checksum
from virtproof.vmm.pci.function import DmaError, Function

HEADER = 14
UNPADDED = e1000.SHORTEST - CRC
NULLS = 64  # descriptors without a buffer that one frame passes over

# Of each frame: what a field is is not worked out again.
_EN, _LPE, _SECRC, _VME = Rctl.en.mask, Rctl.lpe.mask, Rctl.secrc.mask, Ctrl.vme.mask
_DD, _LAST, _VP, _PIF = Receive.dd.mask, Receive.dd.mask | Receive.eop.mask, Receive.vp.mask, Receive.pif.mask
_CHECKSUM, _SPECIAL = Receive.checksum.lo, Receive.special.lo
_PCSS, _RDMTS, _RXDMT0 = Rxcsum.pcss.mask, Rctl.rdmts.lo, Cause.rxdmt0.mask
_SIZE_BITS = Rctl.bsize.mask | Rctl.bsex.mask
_SIZES = {bsize << Rctl.bsize.lo | bsex << Rctl.bsex.lo: size for (bsex, bsize), size in BUFFER_SIZES.items()}


class Receiver:
    """Stores frames in the buffers that the receive ring names."""

    def __init__(
        self,
        function: Function,
        registers: dict[int, int],
        statistics: Statistics,
        interrupts: Interrupts,
        delay: Delay,
    ) -> None:
        self._function, self._registers, self._statistics = function, registers, statistics
        self._interrupts, self._delay = interrupts, delay
        self.filter = Filter(registers)
        self.ring = Ring(registers, e1000.RDBAL)

    def receive(self, frame: bytes) -> bool:
        """Take a frame without its CRC, or drop it.  False: there are too few descriptors for it."""
        registers = self._registers
        rctl = registers[e1000.RCTL]
        if not rctl & _EN:
            return True
        longest = e1000.LONGEST_WITH_LPE if rctl & _LPE else e1000.LONGEST
        if not HEADER <= len(frame) <= longest - CRC:
            self._statistics.count(Statistic.RUC if len(frame) < HEADER else Statistic.ROC)
            return True
        match = self.filter.match(frame)
        if match is Match.NONE:
            return True
        frame = frame.ljust(UNPADDED, b"\0")
        data, said = frame, 0 if match is Match.EXACT else _PIF
        if not rctl & _SECRC:
            data = frame + zlib.crc32(frame).to_bytes(CRC, "little")
        if registers[e1000.CTRL] & _VME and self.filter.tagged(frame):
            said |= _VP | (frame[14] << 8 | frame[15]) << _SPECIAL
            data = data[:12] + data[16:]
        rxcsum = registers[e1000.RXCSUM]
        said |= checked(data, rxcsum) | (~checksum(data, rxcsum & _PCSS) & 0xFFFF) << _CHECKSUM
        if not self._store(data, buffer_size(rctl), said):
            self._statistics.count(Statistic.RNBC)
            self._statistics.count(Statistic.MPC)
            self._interrupts.signal(Cause.rxo.mask)
            return False
        self._statistics.received(frame)
        self._delay.start(registers[e1000.RDTR], registers[e1000.RADV])
        return True

    def _store(self, data: bytes, size: int, said: int) -> bool:
        base, count, index, owned = self.ring.now()
        wanted = -(-len(data) // size)
        try:
            found = self._buffers(wanted, base, count, index, owned)
        except DmaError:
            return False
        enough = wanted == len(found) - found.count(0)
        at = taken = 0
        for address in found:
            upper = _DD
            if address:
                if not enough:
                    break  # what lies before the first buffer is over, the buffers are still for another frame
                piece = data[at : at + size]
                at += size
                self._write(address, piece)
                upper = len(piece) | (_DD if at < len(data) else said | _LAST)
            self._write(base + SIZE * index + 8, upper.to_bytes(8, "little"))
            index = (index + 1) % count
            taken += 1
        if taken:
            self.ring.head = index
            if owned > count >> 1 + (self._registers[e1000.RCTL] >> _RDMTS & 3) >= owned - taken:
                self._interrupts.signal(_RXDMT0)
        return enough

    def _buffers(self, wanted: int, base: int, count: int, index: int, owned: int) -> list[int]:
        """What the next descriptors name, until there are so many buffers, or all that is owned."""
        found: list[int] = []
        missing = wanted
        while missing and owned and len(found) < wanted + NULLS:
            n = min(missing, owned, count - index)
            some = [
                address for (address,) in iter_unpack("<Q8x", self._function.dma_read(base + SIZE * index, SIZE * n))
            ]
            found += some
            missing -= n - some.count(0)
            index = (index + n) % count
            owned -= n
        return found

    def _write(self, address: int, data: bytes) -> None:
        """A write to where no memory is goes nowhere, as any write on the bus that nobody claims."""
        try:
            self._function.dma_write(address, data)
        except DmaError:
            return


def buffer_size(rctl: int) -> int:
    """Bytes of a receive buffer; the reserved code counts as 16 times 2048."""
    return _SIZES.get(rctl & _SIZE_BITS, 32768)
