"""Network interfaces that guests are attached to: bridges, taps, virtual functions.

sysfs says most of it.  Netlink says also what a physical function tells its virtual functions, and the mode of its
switch; it is asked only on request, for pyroute2 takes 0.4 s to import.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress

from virtproof.probes.sources import attribute_text, under, unread, why

FOLDER = "/sys/class/net"
MAX_LINKS = 1024
IFF_TAP = 2  # <linux/if_tun.h>
NOT_ASKED = "netlink is asked only on request (virtproof collect --netlink)"

Netlink = tuple[Callable[[], dict[str, dict[str, int]]], Callable[[], dict[str, str]]]


def read(root: str, *, netlink: Netlink | None = None, identity: bool = False) -> dict[str, object]:
    """The snapshot's section ``network``.

    ``netlink`` are the questions for virtual functions and for switch modes; ``identity`` keeps hardware addresses.
    """
    try:
        names = sorted(os.listdir(under(root, FOLDER)))[:MAX_LINKS]
    except OSError as error:
        return {"links": {}, "unread": [unread("*", f"{FOLDER}: {why(error)}")]}
    links = {name: _link(under(root, f"{FOLDER}/{name}"), identity) for name in names if _is_link(root, name)}
    section: dict[str, object] = {"links": links}
    missing: list[dict[str, str]] = []
    for number, part in enumerate(("vfs", "eswitch")):
        if netlink is None:
            missing.append(unread(part, NOT_ASKED))
            continue
        try:
            section[part] = netlink[number]()
        except Exception as error:  # pyroute2 raises what it likes; the reason is kept
            missing.append(unread(part, f"netlink: {type(error).__name__}: {str(error)[:200]}"))
    return {**section, "unread": missing}


def _is_link(root: str, name: str) -> bool:
    return os.path.isdir(under(root, f"{FOLDER}/{name}"))  # bonding_masters is a file among them


def _link(folder: str, identity: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    if os.path.isdir(f"{folder}/bridge"):
        found["kind"] = "bridge"
    elif re.fullmatch("0x[0-9a-f]{1,8}", flags := attribute_text(f"{folder}/tun_flags")):
        found["kind"] = "tap" if int(flags, 16) & IFF_TAP else "tun"
    with suppress(OSError):  # no hardware behind it
        found["device"] = os.path.basename(os.readlink(f"{folder}/device"))[:64]
    if identity and (address := attribute_text(f"{folder}/address")):
        found["address"] = address[:64]
    return found
