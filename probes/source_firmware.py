"""Sources of facts that are taken out of firmware tables: ACPI, SMBIOS, EFI variables, the firmware's own setup."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from virtproof.probes.fact import Seen, Source, Unknown, Value
from virtproof.probes.firmware import acpi, dmar, ivrs
from virtproof.probes.firmware.smbios import Structure
from virtproof.probes.snapshot import Snapshot
from virtproof.spec.bits import Field
from virtproof.spec.fault import Fault
from virtproof.spec.firmware_setup import OFF, ON, SETTINGS

T = TypeVar("T")
Read = tuple[Seen, ...] | Unknown
SETUP = "/sys/class/firmware-attributes/"
EFI_ATTRIBUTES = 4  # bytes before an EFI variable's value


def table(signature: str, take: Callable[[acpi.Table], Value | Unknown], what: str) -> Source:
    """A value of one ACPI table.  ``take`` may raise ``Fault``: the table lies."""

    def read(snapshot: Snapshot) -> Read:
        data = table_bytes(snapshot, signature)
        if isinstance(data, Unknown):
            return data
        try:
            value = take(acpi.table(signature, data))
        except Fault as fault:
            return Unknown(f"the table {signature} is broken: {fault.saw}")
        return value if isinstance(value, Unknown) else (Seen(value, f"{len(data)} bytes"),)

    return Source(f"ACPI {signature} {what}", read)


def field(signature: str, offset: int, size: int, which: Field[Any]) -> Source:
    """A field of a number that is ``size`` bytes long, at ``offset`` of an ACPI table."""

    def read(snapshot: Snapshot) -> Read:
        data = table_bytes(snapshot, signature)
        if isinstance(data, Unknown):
            return data
        try:
            number = acpi.table(signature, data).number(offset, size)
        except Fault as fault:
            return Unknown(f"the table {signature} is broken: {fault.saw}")
        return (Seen(which.of(number), f"{number:#0{2 + 2 * size}x}"),)

    return Source(f"ACPI {signature} byte {offset}", read)


def of_dmar(take: Callable[[dmar.Dmar], Value], what: str) -> Source:
    """A value of the table DMAR, taken apart."""
    return _parsed("DMAR", _dmar, take, what)


def of_ivrs(take: Callable[[ivrs.Ivrs], Value], what: str) -> Source:
    """A value of the table IVRS, taken apart."""
    return _parsed("IVRS", _ivrs, take, what)


def _parsed(signature: str, parse: Callable[[bytes], T], take: Callable[[T], Value], what: str) -> Source:
    def read(snapshot: Snapshot) -> Read:
        data = table_bytes(snapshot, signature)
        if isinstance(data, Unknown):
            return data
        try:
            value = take(parse(data))
        except Fault as fault:
            return Unknown(f"the table {signature} is broken: {fault.saw}")
        return (Seen(value, what),)

    return Source(f"ACPI {signature}", read)


@lru_cache(maxsize=4)
def _dmar(data: bytes) -> dmar.Dmar:
    return dmar.parse(data)


@lru_cache(maxsize=4)
def _ivrs(data: bytes) -> ivrs.Ivrs:
    return ivrs.parse(data)


def table_bytes(snapshot: Snapshot, signature: str) -> bytes | Unknown:
    """The bytes of an ACPI table, or why there are none."""
    found = snapshot.tables().get(signature)
    if found is None:
        return Unknown(snapshot.obstacle("acpi", signature) or f"the firmware hands over no table {signature}")
    try:
        return base64.b64decode(found["data"], validate=True)
    except ValueError:
        return Unknown(f"the table {signature} is not base64")


def wrong_checksums(snapshot: Snapshot) -> Read:
    """Names of ACPI tables whose checksum or length is wrong; empty where all that were read are in order."""
    if reason := snapshot.obstacle("acpi"):
        return Unknown(reason)
    tables = snapshot.tables()
    if not tables:
        return Unknown("no ACPI table was read")
    wrong = [name for name, one in tables.items() if one["checksum"] != "ok"]
    return (Seen(" ".join(wrong), f"{len(tables)} tables"),)


def smbios(kind: int, take: Callable[[Structure], Value | None], what: str) -> Source:
    """A value of each SMBIOS structure of one type, the distinct ones; ``None`` where a structure does not have it."""

    def read(snapshot: Snapshot) -> Read:
        structures = smbios_of(snapshot, kind)
        if isinstance(structures, Unknown):
            return structures
        values = [value for one in structures if (value := take(one)) is not None]
        if not values:
            return Unknown(f"no SMBIOS structure of type {kind} has it")
        return tuple(
            Seen(value, f"{values.count(value)} of {len(structures)} structures") for value in _distinct(values)
        )

    return Source(f"SMBIOS type {kind} {what}", read)


def smbios_of(snapshot: Snapshot, kind: int) -> tuple[Structure, ...] | Unknown:
    """The SMBIOS structures of one type, or why there are none."""
    if reason := snapshot.obstacle("smbios"):
        return Unknown(reason)
    found = tuple(
        Structure(one["type"], one["handle"], bytes.fromhex(one["data"]), tuple(one["strings"]))
        for one in snapshot.structures()
        if one["type"] == kind
    )
    if not found:
        return Unknown(snapshot.obstacle("smbios", "structures") or f"SMBIOS has no structure of type {kind}")
    return found


def efi_flag(name: str, *, off_without: bool) -> Source:
    """An EFI variable of one byte: 1 is on.

    ``off_without``: it is off where there is none (not booted by UEFI, or firmware that does not know it).
    """

    def read(snapshot: Snapshot) -> Read:
        data = snapshot.efi(name)
        if data is not None:
            if len(data) != EFI_ATTRIBUTES + 1:
                return Unknown(f"the EFI variable {name} has {len(data)} bytes")
            return (Seen(data[EFI_ATTRIBUTES] == 1, data.hex()),)
        if snapshot.absent("files", "/sys/firmware/efi"):
            return (Seen(False, "not booted by UEFI"),) if off_without else Unknown("not booted by UEFI")
        if snapshot.absent("efi", name):
            missing = f"the firmware has no variable {name}"
            return (Seen(False, missing),) if off_without else Unknown(missing)
        return Unknown(snapshot.obstacle("efi", name) or f"the EFI variable {name} was not read")

    return Source(f"EFI variable {name}", read)


def setting(purpose: str) -> Source:
    """A setting of the firmware's setup that the operating system can see: on, off, or the maker's own word."""
    names = SETTINGS[purpose]

    def read(snapshot: Snapshot) -> Read:
        for path, text in snapshot.paths().items():
            if path.startswith(SETUP) and path.endswith("/current_value"):
                maker, _, name = path[len(SETUP) :].split("/")[:3]
                if name.replace("!", "/") in names:  # sysfs writes a slash so
                    word = text.strip().casefold()
                    value: Value = True if word in ON else False if word in OFF else text[:60]
                    return (Seen(value, f"{maker} {name} = {text[:60]}"),)
        return Unknown(no_setting(snapshot))

    return Source(f"{SETUP}*/attributes/{' | '.join(names)}", read)


def no_setting(snapshot: Snapshot) -> str:
    """Why a setting of the firmware cannot be seen."""
    if snapshot.names("/sys/class/firmware-attributes"):
        return "this firmware shows no such setting to the operating system"
    if (
        snapshot.absent("files", "/sys/class/firmware-attributes")
        or snapshot.names("/sys/class/firmware-attributes") == []
    ):
        return "this firmware shows its setup to nobody here (no driver in /sys/class/firmware-attributes)"
    return snapshot.obstacle("files", "/sys/class/firmware-attributes") or "the snapshot does not say"


def _distinct(values: list[Value]) -> list[Value]:
    return list(dict.fromkeys(values))
