"""virtio-blk: VIRTIO 1.2, "Block Device".

A request's header, data and status byte may lie in its buffers as the driver likes.  ``used.len`` counts what was
written without a gap: 0 for a read that failed before its status byte.

Omitted: several queues, write zeroes, secure erase, zones, geometry and topology, the cache mode that a driver sets.
"""

from __future__ import annotations

import struct

from virtproof.spec import virtio_blk as spec
from virtproof.spec.virtio import DeviceId
from virtproof.spec.virtio_blk import SECTOR, Config, Feature, RequestStatus, RequestType
from virtproof.vmm.devices.virtio.queue import Chain, QueueBroken
from virtproof.vmm.devices.virtio.transport import PciPersonality
from virtproof.vmm.disks.disk import Disk, DiskError
from virtproof.vmm.events import After
from virtproof.vmm.pci.function import DmaError
from virtproof.vmm.scsi.tasks import Tasks

QUEUE_SIZE = 256
SEGMENTS = QUEUE_SIZE - 2  # of data: a header and a status byte go with them
LARGEST = 16 << 20  # bytes of one request
FLUSH_COST = 128 << 10  # it waits for the host's disk: so many bytes' worth of a stint
DISCARD_SEGMENTS, DISCARD_SECTORS = 64, 1 << 22


class VirtioBlk(PciPersonality):
    """One disk; ``serial`` is what GET_ID tells, up to 20 ASCII characters."""

    kind = DeviceId.BLOCK
    queue_sizes = (QUEUE_SIZE,)

    def __init__(self, disk: Disk, after: After, *, serial: str = "virtproof", legacy: bool = True) -> None:
        self._disk, self._serial = disk, serial.encode("ascii")[: spec.ID_BYTES].ljust(spec.ID_BYTES, b"\0")
        writable = Feature.RO if disk.read_only else Feature.DISCARD
        self.features = Feature.SEG_MAX | Feature.BLK_SIZE | Feature.FLUSH | writable
        self._config = self._describe()
        self._tasks: Tasks[Chain] = Tasks(after, self._finish_later)
        super().__init__(after, legacy=legacy)

    def config(self) -> bytes:
        return self._config

    def serve(self, queue: int, chain: Chain) -> int | None:
        if chain.to_read < spec.REQUEST_HEADER or not chain.to_write:
            raise QueueBroken(f"a request of {chain.to_read} bytes with room for {chain.to_write}")
        delay = self._disk.delay(min(chain.to_read - spec.REQUEST_HEADER + chain.to_write - 1, LARGEST))
        if delay:
            self._tasks.submit(chain, delay)
            return None
        return self._execute(chain)

    def abandon(self) -> None:
        self._tasks.cancel()

    def _finish_later(self, chain: Chain) -> None:
        self.virtio.complete(spec.REQUESTS, chain, lambda: self._execute(chain))

    def _execute(self, chain: Chain) -> int:
        """Do a request and write its status; return the bytes that were written without a gap."""
        kind, _, sector = struct.unpack("<IIQ", chain.read(0, spec.REQUEST_HEADER))
        room = chain.to_write - 1
        try:
            done, status = self._request(chain, kind, sector, room)
        except (DiskError, DmaError):
            done, status = 0, RequestStatus.IOERR
        chain.write(bytes([status]), room)
        return done + 1 if done == room else done

    def _request(self, chain: Chain, kind: int, sector: int, room: int) -> tuple[int, RequestStatus]:
        """Bytes read into the chain, and how it went."""
        length = chain.to_read - spec.REQUEST_HEADER
        if max(length, room) > LARGEST:
            raise DiskError(f"a request of {max(length, room)} bytes")
        match kind:
            case RequestType.IN if room % SECTOR == 0:
                return chain.write(self._disk.read(sector, room // SECTOR)), RequestStatus.OK
            case RequestType.OUT if length % SECTOR == 0 and not self._disk.read_only:
                self._disk.write(sector, chain.read(spec.REQUEST_HEADER, length))
            case RequestType.FLUSH:
                self._disk.flush()
                chain.moved += FLUSH_COST
            case RequestType.GET_ID:
                return chain.write(self._serial[:room]), RequestStatus.OK
            case RequestType.DISCARD if not self._disk.read_only:
                return 0, self._discard(chain.read(spec.REQUEST_HEADER, length))
            case RequestType.IN | RequestType.OUT | RequestType.DISCARD:
                raise DiskError("no whole sectors, or nothing that may be written")
            case _:
                return 0, RequestStatus.UNSUPP
        return 0, RequestStatus.OK

    def _discard(self, segments: bytes) -> RequestStatus:
        if not segments or len(segments) % spec.DISCARD_SEGMENT or len(segments) > 16 * DISCARD_SEGMENTS:
            raise DiskError(f"{len(segments)} bytes of segments")
        for sector, count, flags in struct.iter_unpack("<QII", segments):
            if flags:
                return RequestStatus.UNSUPP
            if count > DISCARD_SECTORS:
                raise DiskError(f"{count} sectors at once")
            self._disk.discard(sector, count)
        return RequestStatus.OK

    def _describe(self) -> bytes:
        config = bytearray(Config.SIZE)
        struct.pack_into("<Q", config, Config.CAPACITY, self._disk.sectors)
        struct.pack_into("<I", config, Config.SEG_MAX, SEGMENTS)
        struct.pack_into("<I", config, Config.BLK_SIZE, SECTOR)
        struct.pack_into("<III", config, Config.MAX_DISCARD_SECTORS, DISCARD_SECTORS, DISCARD_SEGMENTS, 1)
        return bytes(config)
