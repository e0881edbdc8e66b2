"""The machine around the processor."""

from __future__ import annotations

from virtproof.probes.cpus import parse
from virtproof.probes.fact import Fact, Seen, Unknown
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import derived, directory, text
from virtproof.spec.cite import Cite, linux

DMI = linux("ABI/testing/sysfs-firmware-dmi-entries", "/sys/class/dmi/id")
CPU = linux("ABI/testing/sysfs-devices-system-cpu", "/sys/devices/system/cpu")
CLOCK = linux("timers/timekeeping.rst", "Clock sources")
EFI = Cite("UEFI Specification 2.10", "Boot Manager")


def cpu_count(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    if not snapshot.get("imported", {}).get("all_cpus", True):
        return Unknown(f"CPUs {snapshot['cpus']} were imported from a dump that need not name all of them")
    return (Seen(len(parse(snapshot["cpus"])), snapshot["cpus"]),)


# fmt: off
FACTS = (
    #    id                  source                                                         meaning                                           cite     refs
    Fact("cpu.count",        derived("/sys/devices/system/cpu/online", cpu_count),          "CPUs online",                                    CPU),
    Fact("smt.active",       text("/sys/devices/system/cpu/smt/active"),                    "SMT is active",                                  CPU,     ("PL-021",)),
    Fact("smt.control",      text("/sys/devices/system/cpu/smt/control"),                   "SMT control",                                    CPU,     ("PL-021",)),
    Fact("clocksource",      text("/sys/devices/system/clocksource/clocksource0/current_clocksource"), "clock source",                        CLOCK,   ("KE-104",)),
    Fact("efi.boot",         directory("/sys/firmware/efi"),                                "booted by UEFI",                                 EFI,     ("BI-028",)),
    Fact("dmi.system",       text("/sys/class/dmi/id/sys_vendor"),                          "maker of the system",                            DMI,     ("PL-029",)),
    Fact("dmi.product",      text("/sys/class/dmi/id/product_name"),                        "model of the system",                            DMI,     ("PL-029",)),
    Fact("dmi.bios_vendor",  text("/sys/class/dmi/id/bios_vendor"),                         "maker of the firmware",                          DMI,     ("BI-026",)),
    Fact("dmi.bios_version", text("/sys/class/dmi/id/bios_version"),                        "version of the firmware",                        DMI,     ("BI-026",)),
    Fact("dmi.bios_date",    text("/sys/class/dmi/id/bios_date"),                           "date of the firmware",                           DMI,     ("BI-026",)),
)
# fmt: on
