"""Fusion-MPT: configuration pages."""

from __future__ import annotations

import struct

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Fill, Load, Put, Steps
from virtproof.conformance.mpt_driver import (
    CONTEXT,
    PAGE,
    answer,
    ask,
    attached_sas,
    fields,
    rules,
    simple,
    started,
)
from virtproof.spec.fusion_mpt import ConfigAction, Function, IocStatus, PageType

rule = rules("scsi_lsi")
second = rules("scsi_lsi", priority=2)

HEADER, READ, WRITE = ConfigAction.HEADER, ConfigAction.READ_CURRENT, ConfigAction.WRITE_CURRENT
LVD, WIDE = 3, 0x2000_0000
ONES = 0xEEEE_EEEE_EEEE_EEEE


def config(action: int, kind: int, number: int, address: int = 0, size: int = 0, ext: int = 0) -> Steps:
    """Ask for a page; ``size`` is that of the buffer."""
    head = struct.pack("<BxxBHBBI8xBBBBI", action, Function.CONFIG, 0, ext, 0, CONTEXT, 0, 0, number, kind, address)
    return ask(head + simple(PAGE, size))


def header(kind: int, number: int, dwords: int, version: int, ext: int = 0) -> Steps:
    """The page is there, and so long."""
    length = {"h04": dwords} if ext else {"h14": version | dwords << 8}
    return config(HEADER, kind, number, ext=ext), answer(*fields(6, h02=0x0406, h0E=0, **length))


def refused(status: int, action: int, kind: int, number: int, address: int = 0, size: int = 64, ext: int = 0) -> Steps:
    return config(action, kind, number, address, size, ext), answer(*fields(6, h02=0x0406, h0E=status))


def page(kind: int, number: int, dwords: int, version: int, address: int = 0) -> Steps:
    """Its header and itself, which leaves alone what is behind it."""
    return (
        header(kind, number, dwords, version), Fill(PAGE, 512, ONES), config(READ, kind, number, address, 400),
        answer(*fields(6, h02=0x0406, h0E=0)), Load(PAGE + 1, 1, dwords), Load(PAGE + 2, 1, number),
        Load(PAGE + 3, 1, kind, mask=0x0F), Load(PAGE + 4 * dwords, 4, 0xEEEE_EEEE),
    )  # fmt: skip


# fmt: off
CASES: tuple[Case, ...] = (
    rule("lsi.config.header", "A header says how long its page is", "Config",
        started(), *(header(kind, 0, n, version) for kind, n, version in ((PageType.IO_UNIT, 3, 0), (PageType.IOC, 7, 1), (PageType.MANUFACTURING, 19, 0))),
        page(PageType.IOC, 2, 3, 4)),
    rule("lsi.config.invalid_page", "A type or number that is unknown is refused", "Config",
        started(), refused(IocStatus.CONFIG_INVALID_TYPE, HEADER, 0xE, 0), refused(IocStatus.CONFIG_INVALID_PAGE, HEADER, 0, 99),
        refused(IocStatus.CONFIG_INVALID_ACTION, 9, 0, 0), refused(IocStatus.CONFIG_INVALID_TYPE, HEADER, PageType.EXTENDED, 0)),
    rule("lsi.config.scsi_port0", "SCSI Port page 0: a wide LVD bus", "SCSIPortPage0",
        started(), page(PageType.SCSI_PORT, 0, 3, 2), Load(PAGE + 4, 4, WIDE, mask=WIDE), Load(PAGE + 8, 4, LVD, mask=3)),
    rule("lsi.config.scsi_port2", "SCSI Port page 2: settings of sixteen devices", "SCSIPortPage2",
        started(), page(PageType.SCSI_PORT, 2, 19, 2), Load(PAGE + 8, 4, 7, mask=0xF)),
    rule("lsi.config.scsi_dev", "SCSI Device pages 0 and 1: what was negotiated is what was asked for", "SCSIDevicePage",
        started(), page(PageType.SCSI_DEVICE, 0, 3, 4, address=1), page(PageType.SCSI_DEVICE, 1, 4, 5, address=1),
        Put(PAGE + 0x800, bytes(16)), refused(IocStatus.CONFIG_INVALID_PAGE, READ, PageType.SCSI_DEVICE, 0, 16)),
    rule("lsi.config.scsi_dev.negotiate", "A driver writes SCSI Device page 1", "SCSIDevicePage",
        Put(PAGE, struct.pack("<IIII", 0, 0x2000_0802, 0, 0)), started(), config(WRITE, PageType.SCSI_DEVICE, 1, 1, 16),
        answer(*fields(6, h0E=0)), config(READ, PageType.SCSI_DEVICE, 0, 1, 12), answer(*fields(6, h0E=0)), Load(PAGE + 4, 4, 0x2000_0802),
        config(READ, PageType.SCSI_DEVICE, 0, 2, 12), answer(*fields(6, h0E=0)), Load(PAGE + 4, 4, 0), refs=("lsi.config.scsi_dev",)),
    second("lsi.config.sas_iounit0", "SAS IO Unit page 0 lists the phys and who is behind them", "SASIOUnitPage0",
        started(), header(PageType.EXTENDED, 0, 36, 4, ext=PageType.SAS_IO_UNIT),
        config(READ, PageType.EXTENDED, 0, 0, 256, PageType.SAS_IO_UNIT), answer(*fields(6, h04=36, h0E=0)), Load(PAGE + 12, 1, 8),
        Load(PAGE + 16 + 3, 1, 9), Load(PAGE + 16 + 8, 2, 9), Load(PAGE + 16 + 16 * 4 + 3, 1, 2), Load(PAGE + 16 + 16 * 4 + 8, 2, 0),
        build=attached_sas),
    second("lsi.config.sas_device0", "SAS Device page 0 leads from one device to the next", "SASDevicePage0",
        started(), *((config(READ, PageType.EXTENDED, 0, handle, 256, PageType.SAS_DEVICE), answer(*fields(6, h0E=0)), Load(PAGE + 24, 4, target << 16 | target + 9))
                     for target, handle in enumerate((0xFFFF, 9, 10, 11))),
        refused(IocStatus.CONFIG_INVALID_PAGE, READ, PageType.EXTENDED, 0, 12, 256, PageType.SAS_DEVICE), build=attached_sas,
        refs=("lsi.config.sas_iounit0",)),
)
# fmt: on
