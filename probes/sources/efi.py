"""EFI variables that say how the machine was booted.  Reading one asks the firmware; nothing is written."""

from __future__ import annotations

import os

from virtproof.probes.sources import read_bounded, under, unread, why

FOLDER = "/sys/firmware/efi/efivars"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # UEFI Specification, "Globally Defined Variables"
VARIABLES = ("SecureBoot", "SetupMode")
LIMIT = 64


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``efi``: each variable as hexadecimal digits, its four bytes of attributes first."""
    try:
        mounted = bool(os.listdir(under(root, FOLDER)))
    except OSError as error:
        return {"values": {}, "absent": [], "unread": [unread("*", f"{FOLDER}: {why(error)}")]}
    if not mounted:
        return {"values": {}, "absent": [], "unread": [unread("*", "efivarfs is not mounted")]}
    values: dict[str, str] = {}
    absent: list[str] = []
    missing: list[dict[str, str]] = []
    for name in VARIABLES:
        try:
            values[name] = read_bounded(under(root, f"{FOLDER}/{name}-{GLOBAL}"), LIMIT).hex()
        except FileNotFoundError:
            absent.append(name)
        except OSError as error:
            missing.append(unread(name, why(error)))
    return {"values": values, "absent": absent, "unread": missing}
