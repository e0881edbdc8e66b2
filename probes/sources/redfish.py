"""Firmware settings out of band: what the service processor (iDRAC, iLO, XCC, BMC) says through Redfish.

At most eight GETs, no session and no write: nothing changes there.  Of the hundreds of attributes only those are kept
that facts ask for; asset tags, service tags and the service's address are not.
Resources: DMTF DSP0266 "Redfish Specification"; DSP2046 "Redfish Resource and Schema Guide", ComputerSystem, Bios,
SecureBoot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from virtproof.probes.sources import unread
from virtproof.spec.fault import Fault
from virtproof.spec.redfish import ATTRIBUTES

Get = Callable[[str], object]  # path -> JSON document; raises Fault with the reason in ``saw``

ROOT = "/redfish/v1/"
PATH = re.compile(r"/redfish/v1/[A-Za-z0-9._~%@:()/-]{0,240}")
MAX_ATTRIBUTES = 256  # kept; makers have up to 1,500
MAX_TEXT = 256
SUFFIX = re.compile(r"_[0-9A-F]{4}$")  # Supermicro numbers its attributes: SR_IOVSupport_002B


def read(get: Get, system: str | None = None) -> dict[str, Any]:
    """The snapshot's section ``redfish``.  ``system`` is the path of the system, where the service has several."""
    missing: list[dict[str, str]] = []

    def attempt(name: str, read_it: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return read_it()
        except Fault as error:
            missing.append(unread(name, f"{error.tried}: {error.saw}"))
            return None

    found = attempt("*", lambda: _resource(get, system or _only_system(get)))
    if found is None:
        return {"unread": missing}
    bios = attempt("bios", lambda: _resource(get, _link(found, "Bios")))
    parts = {
        "system": _system(found),
        "bios": None if bios is None else attempt("bios", lambda: _bios(bios)),
        "pending": None if bios is None else attempt("pending", lambda: _attributes(_resource(get, _settings(bios)))),
        "secure_boot": attempt("secure_boot", lambda: _secure_boot(_resource(get, _link(found, "SecureBoot")))),
    }
    return {**{name: part for name, part in parts.items() if part is not None}, "unread": missing}


def _only_system(get: Get) -> str:
    systems = _resource(get, _link(_resource(get, ROOT), "Systems"))
    members = systems.get("Members")
    if not isinstance(members, list) or len(members) != 1:
        count = len(members) if isinstance(members, list) else "no list of"
        raise Fault("find the system", f"the service has {count} systems; name one by its path in the URL")
    return _path(members[0], "Systems.Members")


def _system(system: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"manufacturer": "Manufacturer", "model": "Model", "bios_version": "BiosVersion"}
    return {name: text for name, key in keys.items() if (text := _text(system.get(key)))}


def _bios(bios: Mapping[str, Any]) -> dict[str, Any]:
    return {"attributes": _attributes(bios), "registry": _text(bios.get("AttributeRegistry"))}


def _settings(bios: Mapping[str, Any]) -> str:
    """Where the settings for the next boot are."""
    settings = bios.get("@Redfish.Settings")
    return _link(settings if isinstance(settings, dict) else {}, "SettingsObject")


def _secure_boot(resource: Mapping[str, Any]) -> dict[str, Any]:
    enable = resource.get("SecureBootEnable")
    found: dict[str, Any] = {"enable": enable} if isinstance(enable, bool) else {}
    for name, key in (("current", "SecureBootCurrentBoot"), ("mode", "SecureBootMode")):
        if text := _text(resource.get(key)):
            found[name] = text
    return found


def _attributes(resource: Mapping[str, Any]) -> dict[str, Any]:
    attributes = resource.get("Attributes")
    if not isinstance(attributes, dict):
        raise Fault("read the BIOS attributes", "the resource has no table of attributes")
    kept: dict[str, Any] = {}
    for name, value in attributes.items():
        if SUFFIX.sub("", name) in ATTRIBUTES and len(name) <= 64 and len(kept) < MAX_ATTRIBUTES:
            if isinstance(value, str):
                kept[name] = _text(value)
            elif isinstance(value, bool) or (isinstance(value, int) and abs(value) < 1 << 53):
                kept[name] = value
    return kept


def _resource(get: Get, path: str) -> dict[str, Any]:
    document = get(path)
    if not isinstance(document, dict):
        raise Fault(f"GET {path}", "the answer is no JSON object")
    return document


def _link(resource: Mapping[str, Any], name: str) -> str:
    if name not in resource:
        raise Fault(f"follow {name}", "the service does not offer it")
    return _path(resource[name], name)


def _path(reference: object, name: str) -> str:
    """A path within the service.  Raises ``Fault`` for a reference to anywhere else."""
    place = reference.get("@odata.id") if isinstance(reference, dict) else None
    if not isinstance(place, str) or not PATH.fullmatch(place) or ".." in place:
        raise Fault(f"follow {name}", "its reference is no path below /redfish/v1/")
    return place


def _text(value: object) -> str:
    return value[:MAX_TEXT].encode("utf-8", "replace").decode() if isinstance(value, str) else ""
