"""A CD-ROM drive: T10 MMC-6 (spec/scsi.py), with images of one data track in 2048-byte blocks.

Omitted: audio, raw sectors, READ CD, multi-session discs, writing.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from virtproof.spec import scsi
from virtproof.spec.scsi import ModePage, Opcode, PeripheralType
from virtproof.vmm.disks.disk import SECTOR, Disk
from virtproof.vmm.scsi.block import BlockUnit
from virtproof.vmm.scsi.target import CheckCondition, Completion, Request

CD_ROM_PROFILE = 0x0008
DATA_TRACK = 0x14  # ADR 1: position; CONTROL 4: data
LEAD_OUT = 0xAA
PREGAP = 150  # blocks before the first, in minutes, seconds and frames
MEDIA_CLASS = 4  # of GET EVENT STATUS NOTIFICATION
NO_EVENT, EJECT_REQUEST, NEW_MEDIA, MEDIA_REMOVAL = range(4)


class CdRomUnit(BlockUnit):
    """The tray takes one disc at a time; ``disk`` is what is in it."""

    TYPE = PeripheralType.CD_ROM
    REMOVABLE = True
    PRODUCT = b"virtproof CD-ROM"
    BLOCK = scsi.CD_BLOCK

    def __init__(self, disc: Disk | None = None, serial: str = "0") -> None:
        """Raises ValueError for a disc without a block."""
        super().__init__(_checked(disc), serial)
        self.locked = False
        self._event = NO_EVENT

    def insert(self, disc: Disk) -> None:
        """Put a disc in, in place of another; the guest hears of it.  Raises ValueError for one without a block."""
        self.disk, self.stopped = _checked(disc), False
        self.attention, self._event = scsi.MEDIUM_CHANGED, NEW_MEDIA

    def eject(self) -> Disk | None:
        """Take the disc out, whether the guest has locked it or not."""
        disc, self.disk = self.disk, None
        if disc is not None:
            self._event = MEDIA_REMOVAL
        return disc

    def reset(self) -> None:
        super().reset()
        self.locked = False

    def mode_pages(self) -> dict[int, bytes]:
        page = bytearray(20)
        page[4] = 0x29  # tray; eject and lock
        page[6:8] = page[12:14] = (706).to_bytes(2, "big")  # kB/s, maximum and current
        return {ModePage.CD_CAPABILITIES: bytes(page)}

    def _start_stop(self, request: Request) -> Completion:
        load_or_eject, start = request.cdb[4] & 2, request.cdb[4] & 1
        if not load_or_eject:
            return super()._start_stop(request)
        if not start and self.locked:
            raise CheckCondition(scsi.REMOVAL_PREVENTED)
        if not start:
            self.eject()
        return Completion()

    def _prevent(self, request: Request) -> Completion:
        self.locked = bool(request.cdb[4] & 1)
        return Completion()

    def _read_toc(self, request: Request) -> Completion:
        minutes, kind, first = request.cdb[1] & 2, request.cdb[2] & 0xF or request.cdb[9] >> 6, request.cdb[6]
        if kind > 1 or (kind == 0 and first > 1 and first != LEAD_OUT):
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        tracks = {1: 0, LEAD_OUT: self.blocks}  # number and first block
        listed = [1] if kind == 1 else [track for track in tracks if track >= first]
        data = b"\x01\x01" + b"".join(bytes((0, DATA_TRACK, t, 0)) + _position(tracks[t], minutes) for t in listed)
        return request.answer(len(data).to_bytes(2, "big") + data, request.number(7, 2))

    def _get_configuration(self, request: Request) -> Completion:
        which, first = request.cdb[1] & 3, request.number(2, 2)
        if which == 3:
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        present = self.disk is not None
        features = {  # number: (version, persistent, current), data
            0x0000: (0x03, CD_ROM_PROFILE.to_bytes(2, "big") + bytes((present, 0))),  # profiles
            0x0001: (0x0B, (1).to_bytes(4, "big") + bytes((1, 0, 0, 0))),  # core: SCSI; device-busy events
            0x0003: (0x03, bytes((0x29, 0, 0, 0))),  # removable medium: tray; eject and lock
            0x0010: (int(present), self.BLOCK.to_bytes(4, "big") + bytes((0, 1, 0, 0))),  # random readable
            0x001E: (int(present), bytes(4)),  # CD read
        }
        data = b"".join(
            number.to_bytes(2, "big") + bytes((flags, len(body))) + body
            for number, (flags, body) in features.items()
            if (number == first if which == 2 else number >= first and (which == 0 or flags & 1))
        )
        header = (len(data) + 4).to_bytes(4, "big") + bytes(2) + (CD_ROM_PROFILE * present).to_bytes(2, "big")
        return request.answer(header + data, request.number(7, 2))

    def _get_event_status(self, request: Request) -> Completion:
        if not request.cdb[1] & 1:  # POLLED
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        supported = 1 << MEDIA_CLASS
        if not request.cdb[4] & supported:
            return request.answer(bytes((0, 2, 0x80, supported)), request.number(7, 2))
        event, self._event = self._event, NO_EVENT
        present = 0x02 * (self.disk is not None)
        return request.answer(bytes((0, 6, MEDIA_CLASS, supported, event, present, 0, 0)), request.number(7, 2))

    COMMANDS: ClassVar[Mapping[int, Callable[..., Completion]]] = {
        **BlockUnit.COMMANDS,
        Opcode.READ_TOC: _read_toc,
        Opcode.GET_CONFIGURATION: _get_configuration,
        Opcode.GET_EVENT_STATUS_NOTIFICATION: _get_event_status,
    }


def _checked(disc: Disk | None) -> Disk | None:
    if disc is not None and disc.sectors * SECTOR < scsi.CD_BLOCK:
        raise ValueError("a disc without a block")
    return disc


def _position(block: int, minutes: int) -> bytes:
    if not minutes:
        return block.to_bytes(4, "big")
    seconds, frame = divmod(block + PREGAP, 75)
    return bytes((0, min(seconds // 60, 255), seconds % 60, frame))
