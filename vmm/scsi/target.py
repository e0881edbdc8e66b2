"""What every logical unit has in common, and the target that holds several: T10 SPC-4 (spec/scsi.py).

``execute`` knows neither time nor controllers.  Sense data come with the completion (autosense), so REQUEST SENSE has
nothing to tell but a unit attention.

Omitted: reservations, access controls, diagnostics, logs and mode parameters that can be changed; tasks are executed
one after the other, so queueing rules have nothing to order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from virtproof.spec import scsi
from virtproof.spec.scsi import Opcode, PageControl, PeripheralType, Sense, Status, Vpd

VENDOR, REVISION = b"VPROOF", b"1.0"
LARGEST_TRANSFER = 16 << 20  # bytes of one command: nothing larger is ever allocated


@dataclass(frozen=True, slots=True)
class Completion:
    """How a command ended.

    ``data_in`` is clipped to the allocation; ``length`` is what the command would move in either direction, in bytes: a
    controller that was given less or more reports an overrun or underrun.  ``reads``: they are for the initiator.
    ``sense`` is empty unless CHECK CONDITION.
    """

    status: Status = Status.GOOD
    data_in: bytes = b""
    sense: bytes = b""
    length: int = 0
    reads: bool = False


class CheckCondition(Exception):
    """A command ends with CHECK CONDITION and ``sense``."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(sense)
        self.sense = sense


@dataclass(frozen=True, slots=True)
class Request:
    """One command at a logical unit: the CDB, padded to 16 bytes, the data of the initiator, its room for an answer."""

    cdb: bytes
    data_out: bytes
    allocation: int

    def number(self, offset: int, length: int) -> int:
        return int.from_bytes(self.cdb[offset : offset + length], "big")

    def answer(self, data: bytes, allowed: int) -> Completion:
        """``data`` up to the allocation length of the CDB: more is cut without an error."""
        data = data[:allowed]
        return Completion(data_in=data[: self.allocation], length=len(data), reads=True)


class LogicalUnit:
    """The primary commands; disks and CD-ROMs add theirs to ``COMMANDS``, pages to ``vpd`` and ``mode_pages``."""

    TYPE: ClassVar[PeripheralType]
    REMOVABLE: ClassVar[bool] = False
    PRODUCT: ClassVar[bytes]

    def __init__(self, serial: str) -> None:
        """``serial`` tells this unit from others: up to 20 ASCII characters."""
        self.serial = serial.encode("ascii")[:20]
        self.attention: Sense | None = None  # what is to be told once, before any other command

    def execute(self, cdb: bytes, data_out: bytes = b"", allocation: int = 0) -> Completion:
        """Execute one command; never raises.  ``cdb`` has 1 to 16 bytes, ``allocation`` is the room in bytes."""
        opcode = cdb[0] if cdb else -1
        try:
            command = self.COMMANDS.get(opcode)
            if command is None:
                raise CheckCondition(scsi.INVALID_OPCODE)
            if len(cdb) < scsi.CDB_LENGTHS[opcode >> 5]:
                raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
            if self.attention is not None and opcode not in (Opcode.INQUIRY, Opcode.REQUEST_SENSE, Opcode.REPORT_LUNS):
                sense, self.attention = self.attention, None
                raise CheckCondition(sense)
            return command(self, Request(cdb.ljust(scsi.LARGEST_CDB, b"\0"), data_out, allocation))
        except CheckCondition as check:
            return Completion(Status.CHECK_CONDITION, sense=scsi.fixed(check.sense))

    def reset(self) -> None:
        """Return to the state after power-on, without the unit attention: every initiator knows what it did."""
        self.attention = None

    def delay(self, length: int) -> int:
        """Nanoseconds to wait before a command that moves ``length`` bytes may be executed; it counts as made."""
        return 0

    def vpd(self) -> dict[int, bytes]:
        """Vital product data pages without their headers."""
        # A designator of type "T10 vendor ID", ASCII, of the logical unit.
        name = VENDOR.ljust(8) + self.serial
        return {
            Vpd.SERIAL_NUMBER: self.serial,
            Vpd.IDENTIFICATION: bytes((0x02, 0x01, 0x00, len(name))) + name,
        }

    def mode_pages(self) -> dict[int, bytes]:
        """Mode pages without the two bytes of their headers."""
        return {}

    def mode_header(self) -> tuple[int, bytes]:
        """The device-specific parameter and the block descriptor."""
        return 0, b""

    def _test_unit_ready(self, request: Request) -> Completion:
        return Completion()

    def _request_sense(self, request: Request) -> Completion:
        if request.cdb[1] & 1:  # DESC: descriptor format is optional
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        sense, self.attention = self.attention or scsi.NO_SENSE, None
        return request.answer(scsi.fixed(sense), request.cdb[4])

    def _inquiry(self, request: Request) -> Completion:
        evpd, page, allowed = request.cdb[1] & 1, request.cdb[2], request.number(3, 2)
        if request.cdb[1] & ~1 & 0x1F or (page and not evpd):
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        if not evpd:
            return request.answer(inquiry(self.TYPE, self.PRODUCT, removable=self.REMOVABLE), allowed)
        pages = self.vpd()
        pages[Vpd.SUPPORTED] = bytes(sorted((Vpd.SUPPORTED, *pages)))
        if page not in pages:
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        return request.answer(bytes((self.TYPE, page)) + len(pages[page]).to_bytes(2, "big") + pages[page], allowed)

    def _mode_sense(self, request: Request) -> Completion:
        ten = request.cdb[0] == Opcode.MODE_SENSE_10
        control, page, subpage = request.cdb[2] >> 6, request.cdb[2] & 0x3F, request.cdb[3]
        if control == PageControl.SAVED:
            raise CheckCondition(scsi.SAVING_NOT_SUPPORTED)
        pages = self._encoded_pages(page, subpage, changeable=control == PageControl.CHANGEABLE)
        specific, block = self.mode_header()
        if request.cdb[1] & 8:  # DBD: no block descriptors
            block = b""
        if ten:
            length = 6 + len(block) + len(pages)
            header = length.to_bytes(2, "big") + bytes((0, specific, 0, 0)) + len(block).to_bytes(2, "big")
        else:
            header = bytes((3 + len(block) + len(pages), 0, specific, len(block)))
        return request.answer(header + block + pages, request.number(7, 2) if ten else request.cdb[4])

    def _encoded_pages(self, page: int, subpage: int, *, changeable: bool = False) -> bytes:
        pages = self.mode_pages()
        if subpage not in (0, 0xFF) or (page != scsi.ModePage.ALL and page not in pages):
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        wanted = sorted(pages) if page == scsi.ModePage.ALL else [page]
        shown = {code: bytes(len(pages[code])) if changeable else pages[code] for code in wanted}
        return b"".join(bytes((code, len(page))) + page for code, page in shown.items())

    def _mode_select(self, request: Request) -> Completion:
        """Nothing can be changed: what is selected has to be what is."""
        ten = request.cdb[0] == Opcode.MODE_SELECT_10
        length = request.number(7, 2) if ten else request.cdb[4]
        if not request.cdb[1] & 0x10 or request.cdb[1] & 1:  # PF: pages as the standard has them; SP: save them
            raise CheckCondition(scsi.INVALID_FIELD_IN_CDB)
        data = request.data_out[:length]
        if len(data) < length:
            return Completion(length=length)
        header = 8 if ten else 4
        blocks = int.from_bytes(data[6:8] if ten else data[3:4], "big")
        if data and (len(data) < header or blocks not in (0, 8) or len(data) < header + blocks):
            raise CheckCondition(scsi.PARAMETER_LIST_LENGTH)
        if blocks and data[header : header + 8] != self.mode_header()[1]:
            raise CheckCondition(scsi.INVALID_FIELD_IN_PARAMETERS)
        self._compare_pages(data[header + blocks :])
        return Completion(length=length)

    def _compare_pages(self, data: bytes) -> None:
        pages = self.mode_pages()
        while data:
            if len(data) < 2 or len(data) < 2 + data[1]:
                raise CheckCondition(scsi.PARAMETER_LIST_LENGTH)
            if pages.get(data[0] & 0x7F) != data[2 : 2 + data[1]]:
                raise CheckCondition(scsi.INVALID_FIELD_IN_PARAMETERS)
            data = data[2 + data[1] :]

    COMMANDS: ClassVar[Mapping[int, Callable[..., Completion]]] = {
        Opcode.TEST_UNIT_READY: _test_unit_ready,
        Opcode.REQUEST_SENSE: _request_sense,
        Opcode.INQUIRY: _inquiry,
        Opcode.MODE_SENSE_6: _mode_sense,
        Opcode.MODE_SENSE_10: _mode_sense,
        Opcode.MODE_SELECT_6: _mode_select,
        Opcode.MODE_SELECT_10: _mode_select,
    }


def inquiry(kind: PeripheralType, product: bytes, *, removable: bool = False) -> bytes:
    """Standard INQUIRY data of 36 bytes; SPC-4, "Standard INQUIRY data"."""
    command_queueing = 0x02
    head = bytes((kind, 0x80 * removable, scsi.SPC_4, 0x02, scsi.INQUIRY_LENGTH - 5, 0, 0, command_queueing))
    return head + VENDOR.ljust(8) + product.ljust(16) + REVISION.ljust(4)


def execute(
    units: Mapping[int, LogicalUnit], lun: int | None, cdb: bytes, data_out: bytes = b"", allocation: int = 0
) -> Completion:
    """Execute a command at one LUN of a target, whether it has that LUN or not; None is a LUN that cannot be."""
    if cdb[:1] == bytes((Opcode.REPORT_LUNS,)) and len(cdb) >= scsi.CDB_LENGTHS[Opcode.REPORT_LUNS >> 5]:
        return _report_luns(units, Request(cdb, data_out, allocation))
    unit = None if lun is None else units.get(lun)
    return unit.execute(cdb, data_out, allocation) if unit is not None else _nobody(cdb, data_out, allocation)


def _report_luns(units: Mapping[int, LogicalUnit], request: Request) -> Completion:
    select, allowed = request.cdb[2], request.number(6, 4)
    if select > 2 or allowed < 16:  # SPC-4, "REPORT LUNS command": less than 16 is an error
        return Completion(Status.CHECK_CONDITION, sense=scsi.fixed(scsi.INVALID_FIELD_IN_CDB))
    # LUN 0 answers even where it has no unit; SELECT REPORT 1 asks for well known units, of which there are none.
    luns = b"" if select == 1 else b"".join(scsi.lun_address(lun) for lun in sorted({0, *units}))
    return request.answer(len(luns).to_bytes(4, "big") + bytes(4) + luns, allowed)


def _nobody(cdb: bytes, data_out: bytes, allocation: int) -> Completion:
    """SPC-4, "Incorrect logical unit selection": INQUIRY and REQUEST SENSE tell, the rest fails."""
    request = Request(cdb.ljust(scsi.LARGEST_CDB, b"\0"), data_out, allocation)
    match request.cdb[0]:
        case Opcode.INQUIRY if cdb and not request.cdb[1] & 1 and not request.cdb[2]:
            return request.answer(inquiry(PeripheralType.NO_UNIT, b""), request.number(3, 2))
        case Opcode.REQUEST_SENSE:
            return request.answer(scsi.fixed(scsi.LUN_NOT_SUPPORTED), request.cdb[4])
    return Completion(Status.CHECK_CONDITION, sense=scsi.fixed(scsi.LUN_NOT_SUPPORTED))
