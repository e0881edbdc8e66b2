"""Logical units whose medium has numbered blocks: T10 SBC-3 (spec/scsi.py)."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from virtproof.spec import scsi
from virtproof.spec.scsi import ModePage, Opcode, PeripheralType, Vpd
from virtproof.vmm.disks.disk import SECTOR, Disk, DiskError
from virtproof.vmm.scsi.target import LARGEST_TRANSFER, CheckCondition, Completion, LogicalUnit, Request

LARGEST_UNMAP = 1 << 21  # blocks of one command
UNMAP_DESCRIPTORS = 256
NON_ROTATING = 1
PROTECT, FORCE_UNIT_ACCESS = 0xE0, 0x08  # RDPROTECT or WRPROTECT, and FUA, in byte 1 of a CDB
BYTE_CHECK = 0x06  # BYTCHK of VERIFY


class BlockUnit(LogicalUnit):
    """Reading, capacity, and a motor that can be stopped."""

    BLOCK: ClassVar[int]  # bytes

    def __init__(self, disk: Disk | None, serial: str) -> None:
        super().__init__(serial)
        self.disk = disk
        self.stopped = False

    @property
    def blocks(self) -> int:
        """How many blocks the medium has."""
        return self.medium.sectors * SECTOR // self.BLOCK

    @property
    def medium(self) -> Disk:
        """What is to be read and written.  Raises CheckCondition where there is none."""
        if self.disk is None:
            raise CheckCondition(scsi.NO_MEDIUM)
        if self.stopped:
            raise CheckCondition(scsi.STOPPED)
        return self.disk

    def reset(self) -> None:
        super().reset()
        self.stopped = False

    def delay(self, length: int) -> int:
        return self.disk.delay(length) if self.disk is not None else 0

    def span(self, request: Request) -> tuple[int, int]:
        """First sector and length in bytes of what a CDB names.  Raises CheckCondition where blocks are not there."""
        opcode = Opcode(request.cdb[0])
        where = scsi.SPANS[opcode]
        lba, count = request.number(*where.first), request.number(*where.blocks)
        if where is scsi.SPAN_6:
            lba, count = lba & 0x1FFFFF, count or 256
        if lba + count > self.blocks or (lba == self.blocks and not count):
            raise CheckCondition(scsi.LBA_OUT_OF_RANGE)
        return lba * self.BLOCK // SECTOR, count * self.BLOCK

    def transfer(self, request: Request) -> tuple[int, int]:
        """As ``span``, for a command that moves these blocks."""
        sector, length = self.span(request)
        # Protection information is not on the medium; six-byte commands once had the LUN there.
        protected = request.cdb[1] & PROTECT and scsi.SPANS[Opcode(request.cdb[0])] is not scsi.SPAN_6
        if protected or length > LARGEST_TRANSFER:
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        return sector, length

    def _test_unit_ready(self, request: Request) -> Completion:
        _ = self.medium
        return Completion()

    def _read(self, request: Request) -> Completion:
        sector, length = self.transfer(request)
        wanted = min(length, request.allocation)
        try:
            data = self.medium.read(sector, -(-wanted // SECTOR))
        except DiskError:
            raise CheckCondition(scsi.READ_ERROR) from None
        return Completion(data_in=data if len(data) == wanted else data[:wanted], length=length, reads=True)

    def _read_capacity_10(self, request: Request) -> Completion:
        if request.number(2, 4):
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        last = min(self.blocks - 1, 0xFFFFFFFF)
        return request.answer(last.to_bytes(4, "big") + self.BLOCK.to_bytes(4, "big"), 8)

    def _start_stop(self, request: Request) -> Completion:
        if not request.cdb[4] >> 4:  # POWER CONDITION: there is nothing to save
            self.stopped = not request.cdb[4] & 1
        return Completion()

    def _prevent(self, request: Request) -> Completion:
        return Completion()

    COMMANDS: ClassVar[Mapping[int, Callable[..., Completion]]] = {
        **LogicalUnit.COMMANDS,
        Opcode.TEST_UNIT_READY: _test_unit_ready,
        Opcode.START_STOP_UNIT: lambda unit, request: unit._start_stop(request),
        Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL: lambda unit, request: unit._prevent(request),
        Opcode.READ_CAPACITY_10: _read_capacity_10,
        Opcode.READ_10: _read,
        Opcode.READ_12: _read,
    }


class DiskUnit(BlockUnit):
    """A disk of 512-byte blocks; it may be write-protected.

    Omitted: protection information, WRITE SAME, COMPARE AND WRITE, VERIFY with data.
    """

    TYPE = PeripheralType.DISK
    PRODUCT = b"virtproof disk"
    BLOCK = scsi.BLOCK

    def __init__(self, disk: Disk, serial: str = "0") -> None:
        """Raises ValueError for a disk without a block."""
        super().__init__(disk, serial)
        if not disk.sectors:
            raise ValueError("a disk without a block")

    def vpd(self) -> dict[int, bytes]:
        limits, largest = bytearray(60), LARGEST_TRANSFER // self.BLOCK
        limits[4:8] = largest.to_bytes(4, "big")
        if self._thin:
            limits[16:20] = LARGEST_UNMAP.to_bytes(4, "big")
            limits[20:24] = UNMAP_DESCRIPTORS.to_bytes(4, "big")
        pages = super().vpd() | {
            Vpd.BLOCK_LIMITS: bytes(limits),
            Vpd.BLOCK_CHARACTERISTICS: NON_ROTATING.to_bytes(2, "big").ljust(60, b"\0"),
        }
        return pages | {Vpd.PROVISIONING: bytes((0, 0x80, 2, 0))} if self._thin else pages  # LBPU; thin provisioned

    def mode_pages(self) -> dict[int, bytes]:
        write_cache_enabled = 0x04
        return {ModePage.CACHING: bytes((write_cache_enabled,)).ljust(18, b"\0")}

    def mode_header(self) -> tuple[int, bytes]:
        blocks = min(self.blocks, 0xFFFFFF)
        force_unit_access = 0x10
        specific = force_unit_access | 0x80 * self.medium.read_only
        return specific, blocks.to_bytes(4, "big") + self.BLOCK.to_bytes(4, "big")

    @property
    def _thin(self) -> bool:
        return self.disk is not None and not self.disk.read_only

    @property
    def _writable(self) -> Disk:
        if self.medium.read_only:
            raise CheckCondition(scsi.WRITE_PROTECTED)
        return self.medium

    def _read_with_flags(self, request: Request) -> Completion:
        if request.cdb[1] & FORCE_UNIT_ACCESS and request.cdb[0] != Opcode.READ_6:  # so it has to be on the medium
            self._flush()
        return self._read(request)

    def _write(self, request: Request) -> Completion:
        sector, length = self.transfer(request)
        disk = self._writable
        if len(request.data_out) >= length:  # the rest is an overrun, of which nothing is written
            try:
                disk.write(sector, request.data_out[:length])
            except DiskError:
                raise CheckCondition(scsi.WRITE_ERROR) from None
            if request.cdb[1] & FORCE_UNIT_ACCESS and request.cdb[0] != Opcode.WRITE_6:
                self._flush()
        return Completion(length=length)

    def _verify(self, request: Request) -> Completion:
        self.span(request)
        if request.cdb[1] & (PROTECT | BYTE_CHECK):
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        return Completion()

    def _synchronize_cache(self, request: Request) -> Completion:
        self.span(request)
        self._flush()
        return Completion()

    def _flush(self) -> None:
        try:
            self.medium.flush()
        except DiskError:
            raise CheckCondition(scsi.WRITE_ERROR) from None

    def _unmap(self, request: Request) -> Completion:
        length, data = request.number(7, 2), request.data_out
        disk = self._writable
        if request.cdb[1] & 1:  # ANCHOR
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        if length and length < 8:
            raise CheckCondition(scsi.PARAMETER_LIST_LENGTH)
        if len(data) < length:
            return Completion(length=length)
        descriptors = min(int.from_bytes(data[2:4], "big"), max(length - 8, 0)) // 16
        ranges = [
            (int.from_bytes(data[at : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big"))
            for at in range(8, 8 + 16 * descriptors, 16)
        ]
        if len(ranges) > UNMAP_DESCRIPTORS or sum(count for _, count in ranges) > LARGEST_UNMAP:
            raise CheckCondition(scsi.INVALID_FIELD_IN_PARAMETERS)
        if any(lba + count > self.blocks for lba, count in ranges):
            raise CheckCondition(scsi.LBA_OUT_OF_RANGE)
        try:
            for lba, count in ranges:
                disk.discard(lba, count)
        except DiskError:
            raise CheckCondition(scsi.WRITE_ERROR) from None
        return Completion(length=length)

    def _service_action_in(self, request: Request) -> Completion:
        if request.cdb[1] & 0x1F != scsi.READ_CAPACITY_16 or request.number(2, 8):
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        data = bytearray(32)
        data[:8] = (self.blocks - 1).to_bytes(8, "big")
        data[8:12] = self.BLOCK.to_bytes(4, "big")
        data[14] = 0x80 * self._thin  # LBPME
        return request.answer(bytes(data), request.number(10, 4))

    COMMANDS: ClassVar[Mapping[int, Callable[..., Completion]]] = {
        **BlockUnit.COMMANDS,
        Opcode.READ_6: _read_with_flags,
        Opcode.READ_10: _read_with_flags,
        Opcode.READ_12: _read_with_flags,
        Opcode.READ_16: _read_with_flags,
        Opcode.WRITE_6: _write,
        Opcode.WRITE_10: _write,
        Opcode.WRITE_12: _write,
        Opcode.WRITE_16: _write,
        Opcode.VERIFY_10: _verify,
        Opcode.VERIFY_16: _verify,
        Opcode.SYNCHRONIZE_CACHE_10: _synchronize_cache,
        Opcode.SYNCHRONIZE_CACHE_16: _synchronize_cache,
        Opcode.UNMAP: _unmap,
        Opcode.SERVICE_ACTION_IN_16: _service_action_in,
    }
