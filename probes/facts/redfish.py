"""What the service processor says of the firmware: settings by the makers' names, what is staged, Secure Boot."""

from __future__ import annotations

from functools import partial
from typing import Any

from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import Read, derived
from virtproof.probes.sources.redfish import SUFFIX
from virtproof.spec.cite import Cite
from virtproof.spec.redfish import ANY, OFF, ON, SETTINGS, maker

BIOS = Cite("DMTF DSP2046", "Bios")
SYSTEM = Cite("DMTF DSP2046", "ComputerSystem")
SECURE_BOOT = Cite("DMTF DSP2046", "SecureBoot")
REGISTRY = Cite("DMTF DSP2046", "AttributeRegistry")
NUMBERS = frozenset({"sev_asids", "snp_memory", "tpm"})  # not a switch: told as they are


def all_names(name: str) -> tuple[str, ...]:
    """All names of a setting."""
    return tuple(key for names in SETTINGS[name].names.values() for key in names)


def _setting(name: str, snapshot: Snapshot) -> Read:
    attributes = _part(snapshot, "bios").get("attributes")
    if attributes is None:
        return _unknown(snapshot, "bios")
    manufacturer = _part(snapshot, "system").get("manufacturer", "")
    names = SETTINGS[name].names
    wanted = names.get(maker(manufacturer), ()) or names.get(ANY, ())
    found = [(key, attributes[key]) for want in wanted for key in attributes if SUFFIX.sub("", key) == want]
    if not found:
        return Unknown(
            f"no attribute of {manufacturer[:40] or 'this maker'} for {SETTINGS[name].meaning} is known here"
        )
    key, value = found[0]
    raw = f"{key} = {value}"
    if name in NUMBERS or isinstance(value, bool):
        return (Seen(value, raw),)
    word = str(value).strip().casefold()
    if word in ON | OFF:
        return (Seen(word in ON, raw),)
    return Unknown(f"{raw[:120]}, which says neither on nor off")


def staged(snapshot: Snapshot) -> Read:
    """The settings, of those that facts ask for, that will be others after the next boot."""
    pending, bios = snapshot.redfish("pending"), _part(snapshot, "bios").get("attributes")
    if pending is None or bios is None:
        return _unknown(snapshot, "pending")
    differ = sorted(name for name, value in pending.items() if name in bios and bios[name] != value)
    return (Seen(", ".join(differ), "; ".join(f"{name}: {bios[name]} -> {pending[name]}" for name in differ)[:200]),)


def _system(name: str, snapshot: Snapshot) -> Read:
    value = _part(snapshot, "system").get(name)
    return (Seen(value, value),) if value else _unknown(snapshot, "system")


def version_agrees(snapshot: Snapshot) -> Read:
    """Is the firmware that the service processor speaks of the one that runs?"""
    there, here = _system("bios_version", snapshot), snapshot.text("/sys/class/dmi/id/bios_version")
    if isinstance(there, Unknown):
        return there
    if here is None:
        return Unknown("/sys/class/dmi/id/bios_version was not read")
    one, other = str(there[0].value).strip(), here.strip()
    return (Seen(one == other or one.endswith(f" {other}") or f" {other} " in f"{one} ", f"{one} there, {other} here"),)


def _secure_boot(name: str, snapshot: Snapshot) -> Read:
    value = _part(snapshot, "secure_boot").get(name)
    return (Seen(value, str(value)),) if value is not None else _unknown(snapshot, "secure_boot")


def registry(snapshot: Snapshot) -> Read:
    """The registry that explains the names of the attributes."""
    value = _part(snapshot, "bios").get("registry")
    return (Seen(value, value),) if value else _unknown(snapshot, "bios")


def _part(snapshot: Snapshot, name: str) -> dict[str, Any]:
    part: dict[str, Any] = snapshot.redfish(name) or {}
    return part


def _unknown(snapshot: Snapshot, what: str) -> Unknown:
    if "redfish" not in snapshot:
        return Unknown("no Redfish service was asked (virtproof collect --redfish)")
    return Unknown(snapshot.obstacle("redfish", what) or "the service does not say")


def _fact(name: str, refs: tuple[str, ...]) -> Fact:
    source = derived(f"Redfish Bios.Attributes: {', '.join(all_names(name))}", partial(_setting, name))
    return Fact(f"redfish.{name}", source, f"{SETTINGS[name].meaning}, as set in firmware", BIOS, refs)


REFS = {
    "virtualization": ("BI-051", "BI-058", "BI-063", "BI-064", "BI-066"),
    "iommu": ("BI-054", "BI-059", "BI-060", "BI-067", "BI-069", "BI-070", "BI-071"),
    "sriov": ("BI-052", "BI-061", "BI-068", "BI-071"),
    "smt": ("BI-053", "BI-062"),
    "sme": ("BI-055", "BI-069"),
    "sme_transparent": ("BI-055",),
    "snp": ("BI-055", "BI-069"),
    "snp_memory": ("BI-069", "BI-070"),
    "sev_asids": ("BI-055", "BI-069", "BI-070"),
    "tpm": ("BI-056",),
    "tpm_hierarchy": ("BI-056",),
    "secure_boot": ("BI-057",),
}

# fmt: off
FACTS = (
    *(_fact(name, refs) for name, refs in REFS.items()),
    #    id                            source                                                                           meaning                                                 cite         refs
    Fact("redfish.staged",             derived("Redfish Bios settings object", staged),                                 "settings that the next boot changes",                  BIOS,        ("BI-073",)),
    Fact("redfish.bios_version",       derived("Redfish ComputerSystem.BiosVersion", partial(_system, "bios_version")), "version of the firmware, out of band",                 SYSTEM,      ("BI-074",)),
    Fact("redfish.bios_version_agrees", derived("Redfish BiosVersion, DMI", version_agrees),                            "the firmware that runs is the one seen out of band",   SYSTEM,      ("BI-074",)),
    Fact("redfish.secure_boot_enable", derived("Redfish SecureBootEnable", partial(_secure_boot, "enable")),            "Secure Boot is on for the next boot",                  SECURE_BOOT, ("SE-106",)),
    Fact("redfish.secure_boot_current", derived("Redfish SecureBootCurrentBoot", partial(_secure_boot, "current")),     "Secure Boot in this boot",                             SECURE_BOOT, ("SE-106",)),
    Fact("redfish.secure_boot_mode",   derived("Redfish SecureBootMode", partial(_secure_boot, "mode")),                "mode of Secure Boot",                                  SECURE_BOOT, ("SE-106",)),
    Fact("redfish.registry",           derived("Redfish Bios.AttributeRegistry", registry),                             "the registry that explains the attributes",            REGISTRY,    ("BI-075",)),
)
# fmt: on
