"""The BIOS area below 1 MiB: RAM that lies behind a ROM until the host bridge lets it through.

Intel 440FX data sheet, "PAM - Programmable Attribute Map Registers".  Reads and writes of a segment go to RAM or to the
bus, each on its own.  On the bus there are the last 128 KiB of the ROM, from E0000H, and nothing below.
"""

from __future__ import annotations

from virtproof.spec.i440fx import SEGMENTS, Attributes, Segment
from virtproof.vmm.backing import HostMemory, MemoryPart
from virtproof.vmm.bus import Bus
from virtproof.vmm.memory import GuestMemory, GuestMemoryError, Slot

VIDEO, START, END = 0xA0000, 0xC0000, 0x100000
ROM_START = 0xE0000  # where the ROM is seen below 1 MiB
ROM_TOP = 1 << 32
ROM_LIMIT = 16 << 20


class ShadowedMemory:
    """Takes the low RAM of a machine apart.  What was at A0000H to BFFFFH, where video memory would be, is gone.

    The ROM also ends at 4 GiB, where the processor starts.  Raises GuestMemoryError for a ROM that is not whole pages
    of 128 KiB to 16 MiB.
    """

    def __init__(self, memory: GuestMemory, bus: Bus, rom: bytes) -> None:
        if len(rom) % 4096 or not END - ROM_START <= len(rom) <= ROM_LIMIT:
            tried = f"map a BIOS of {len(rom)} bytes"
            raise GuestMemoryError(tried, "it is not whole pages of 128 KiB to 16 MiB", "use a file such as SeaBIOS's")
        self._memory = memory
        low = next(slot for slot in memory.slots if slot.gpa == 0)
        memory.unmap(low)
        memory.map(0, MemoryPart(low.memory, 0, VIDEO))
        memory.map(END, MemoryPart(low.memory, END, low.memory.size - END))
        high = memory.add(ROM_TOP - len(rom), len(rom), read_only=True)
        memory.load(high.gpa, rom)
        self._ram = {part: MemoryPart(low.memory, part.start, part.length) for part in SEGMENTS}
        self._rom = {
            part: MemoryPart(high.memory, len(rom) - END + part.start, part.length)
            for part in SEGMENTS
            if part.start >= ROM_START
        }
        self._slots: dict[Segment, tuple[Attributes, Slot | None]] = {}
        for part in SEGMENTS:
            self.shadow(part, Attributes(0))
        bus.add_mmio(START, END - START, self, "BIOS area")

    def shadow(self, segment: Segment, attributes: Attributes) -> None:
        """Let reads and writes of a segment go where the attributes say."""
        before, slot = self._slots.get(segment, (None, None))
        if before == attributes:
            return
        if slot is not None:
            self._memory.unmap(slot)
        self._slots[segment] = attributes, self._mapped(segment, attributes)

    def read(self, offset: int, size: int) -> int:
        """Nobody answers on the bus where there is no ROM."""
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A write that memory did not take: it goes to RAM where only reads go to the bus."""
        for segment, (attributes, _) in self._slots.items():
            at = START + offset - segment.start
            if 0 <= at < segment.length and attributes.write and not attributes.read:
                self._ram[segment].view[at : at + size] = value.to_bytes(size, "little")

    def _mapped(self, segment: Segment, attributes: Attributes) -> Slot | None:
        source: HostMemory | None = self._ram[segment] if attributes.read else self._rom.get(segment)
        if source is None:
            return None
        writable = bool(attributes.read and attributes.write)
        return self._memory.map(segment.start, source, read_only=not writable)
