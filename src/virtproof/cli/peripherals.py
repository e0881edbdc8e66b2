"""What ``--disk`` and ``--nic`` of ``virtproof guest`` say: a name or options, with commas between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn

import click

BACKENDS = ("none", "loopback", "switch", "tap")
DISK_OPTIONS = ("bus", "lun", "media", "rate", "overlay")
DISK_FLAGS = ("ro", "snapshot", "cdrom")
NIC_OPTIONS = ("model", "backend", "segment", "rate", "mac", "rom", "record")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LARGEST_RATE = 1 << 40  # bytes a second


class DiskOption(NamedTuple):
    """--disk; ``rate`` in bytes a second."""

    file: str
    bus: str
    read_only: bool = False
    snapshot: bool = False
    overlay: str | None = None
    cdrom: bool = False
    lun: int = 0
    rate: int | None = None

    @property
    def base_stays(self) -> bool:
        """Is the file itself only read?"""
        return self.read_only or self.cdrom or self.snapshot or self.overlay is not None


class NicOption(NamedTuple):
    """--nic; ``rate`` in bytes a second, in each direction."""

    model: str
    backend: str
    segment: str = ""
    rate: int | None = None
    mac: bytes | None = None
    rom: str | None = None
    record: str | None = None


def disk_options(texts: Iterable[str]) -> list[DiskOption]:
    """All of them, in their order: a LUN joins the target before it.  Raises click.BadParameter."""
    options: list[DiskOption] = []
    for text in texts:
        one = disk_option(text)
        if one.lun:
            taken: list[int] = []  # LUNs of the target that it joins
            for other in options:
                if other.bus == one.bus:
                    taken = [*taken, other.lun] if other.lun else [0]
            if not taken:
                _refuse_disk(f"lun={one.lun}: it joins the disk before it on {one.bus}, and there is none")
            if one.lun in taken:
                _refuse_disk(f"lun={one.lun}: the disk before it on {one.bus} has it already")
        options.append(one)
    return options


def disk_option(text: str) -> DiskOption:
    """FILE,bus=...[,lun=N][,cdrom][,rate=N][,overlay=FILE][,ro][,snapshot].  Raises click.BadParameter."""
    from virtproof.vmm.peripherals import BUSES, LUNS, SCSI

    file, *rest = text.split(",")
    said, flags = {"bus": BUSES[0]}, set()
    for part in rest:
        name, equals, value = part.partition("=")
        if equals and name in DISK_OPTIONS:
            said[name] = value
        elif part in DISK_FLAGS:
            flags.add(part)
        else:
            known = (f"bus={'|'.join(BUSES)}", "lun=N", "media=disk|cdrom", "rate=BYTES", "overlay=FILE", *DISK_FLAGS)
            _refuse_disk(f"{part}: known are {', '.join(known)}")
    bus, media, lun = said["bus"], said.get("media", "disk"), said.get("lun", "0")
    if bus not in BUSES:
        _refuse_disk(f"bus={bus}: known are {', '.join(BUSES)}")
    if media not in ("disk", "cdrom"):
        _refuse_disk(f"media={media}: known are disk and cdrom")
    if not re.fullmatch(r"[0-9]{1,4}", lun) or int(lun) >= LUNS:
        _refuse_disk(f"lun={lun}: a number from 0 to {LUNS - 1}")
    cdrom = media == "cdrom" or "cdrom" in flags
    if bus not in SCSI and (cdrom or "lun" in said):
        _refuse_disk(f"bus={bus} has neither CD-ROMs nor LUNs: use bus={'|'.join(SCSI)}")
    ways = [way for way, there in (("cdrom", cdrom), ("overlay", "overlay" in said)) if there]
    ways += [flag for flag in ("snapshot", "ro") if flag in flags]
    if len(ways) > 1 and set(ways) != {"cdrom", "ro"}:
        _refuse_disk(f"{' and '.join(ways)}: each says what becomes of writes, so only one of them")
    return DiskOption(
        file,
        bus,
        read_only="ro" in flags,
        snapshot="snapshot" in flags,
        overlay=said.get("overlay"),
        cdrom=cdrom,
        lun=int(lun),
        rate=_rate(said, "--disk"),
    )


def nic_option(text: str) -> NicOption:
    """model=...,backend=...[,segment=][,rate=][,mac=][,rom=][,record=].  Raises click.BadParameter."""
    from virtproof.vmm.peripherals import NICS

    said: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in NIC_OPTIONS:
            options = ", ".join(f"{option}=" for option in NIC_OPTIONS)
            raise click.BadParameter(f"{part}: known are {options}", param_hint="--nic")
        said[name] = value
    said = {"model": "e1000", "backend": "switch" if "segment" in said else "none"} | said
    for name, known in (("model", tuple(NICS)), ("backend", BACKENDS)):
        if said[name] not in known:
            raise click.BadParameter(f"{name}={said[name]}: known are {', '.join(known)}", param_hint="--nic")
    if "segment" in said and said["backend"] != "switch":
        raise click.BadParameter(f"segment={said['segment']}: only backend=switch has segments", param_hint="--nic")
    return NicOption(
        said["model"],
        said["backend"],
        segment=said.get("segment", ""),
        rate=_rate(said, "--nic"),
        mac=_mac(said.get("mac")),
        rom=said.get("rom"),
        record=said.get("record"),
    )


def _refuse_disk(why: str) -> NoReturn:
    raise click.BadParameter(why, param_hint="--disk")


def _rate(said: Mapping[str, str], option: str) -> int | None:
    """Bytes a second: a number, with K, M or G for powers of 1024."""
    if "rate" not in said:
        return None
    found = re.fullmatch(r"([0-9]{1,15})([KMG]?)", said["rate"])
    rate = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < rate <= LARGEST_RATE:
        raise click.BadParameter(
            f"rate={said['rate']}: bytes a second, as 1000000, 512K or 10M; from 1 to {LARGEST_RATE >> 30}G",
            param_hint=option,
        )
    return rate


def _mac(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        address = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        address = b""
    if len(address) != 6 or address[0] & 1:
        raise click.BadParameter(f"mac={text}: six bytes with colons, as 52:54:00:12:34:56", param_hint="--nic")
    return address
