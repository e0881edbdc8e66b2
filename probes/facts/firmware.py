"""What the firmware says of the machine and of itself: SMBIOS, ACPI tables, EFI variables, its setup."""

from __future__ import annotations

import re

from virtproof.probes.cpus import parse
from virtproof.probes.fact import Fact, Seen, Source, Unknown, Value
from virtproof.probes.firmware.acpi import Table, madt_cpus, srat_affinity
from virtproof.probes.firmware.acpi import table as parsed
from virtproof.probes.firmware.smbios import Structure, placeholder
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import acpi_table, derived, entries, why_no_file
from virtproof.probes.source_firmware import (
    efi_flag,
    field,
    no_setting,
    setting,
    smbios,
    smbios_of,
    table,
    table_bytes,
    wrong_checksums,
)
from virtproof.probes.source_linux import matching, number
from virtproof.spec import acpi
from virtproof.spec import smbios as dmi
from virtproof.spec.bits import Field
from virtproof.spec.cite import Cite, linux
from virtproof.spec.fault import Fault

DSP0134 = "DMTF DSP0134"
PROCESSOR = Cite(DSP0134, "Processor Characteristics")
BIOS = Cite(DSP0134, "BIOS Characteristics Extension Byte 2")
STATUS = Cite(DSP0134, "Processor Information (Type 4)")
ARRAY = Cite(DSP0134, "Physical Memory Array (Type 16)")
DEVICE = Cite(DSP0134, "Memory Device (Type 17)")
SYSTEM = Cite(DSP0134, "System Information (Type 1)")
HEADER = Cite("ACPI Specification 6.5", "System Description Table Header")
MADT = Cite("ACPI Specification 6.5", "Multiple APIC Description Table (MADT)")
FADT = Cite("ACPI Specification 6.5", "Fixed ACPI Description Table (FADT)")
SRAT = Cite("ACPI Specification 6.5", "System Resource Affinity Table (SRAT)")
WSMT = Cite("Microsoft Windows SMM Security Mitigations Table (WSMT)", "Protection Flags")
UEFI = Cite("UEFI Specification 2.10", "Globally Defined Variables")
TPM = linux("ABI/stable/sysfs-class-tpm", "/sys/class/tpm/tpmX/tpm_version_major")
TPM2 = Cite("TCG ACPI Specification", "ACPI Table for TPM 2.0")
SETUP = linux("ABI/testing/sysfs-class-firmware-attributes", "/sys/class/firmware-attributes/*/attributes/*/")
SPI = linux("ABI/testing/sysfs-driver-spi-intel", "/sys/devices/.../intel_spi_bios_locked")
MEI = linux("ABI/testing/sysfs-class-mei", "/sys/class/mei/meiN/fw_status")

MANUFACTURING = 1 << 4  # of HFSTS1, the first firmware status register
Read = tuple[Seen, ...] | Unknown


def characteristic(which: Field[bool]) -> Source:
    """A processor characteristic, of sockets that have a processor."""

    def take(socket: Structure) -> Value | None:
        if not populated(socket):
            return None
        word = socket.number(dmi.PROCESSOR_CHARACTERISTICS, 2)
        return None if word is None or dmi.ProcessorCharacteristics(word).unknown else which.of(word)

    return smbios(dmi.Type.PROCESSOR, take, f"Processor Characteristics {which.name}")


def populated(socket: Structure) -> bool:
    return bool(dmi.ProcessorStatus(socket.number(dmi.PROCESSOR_STATUS, 1) or 0).populated)


def bios_flag(which: Field[bool]) -> Source:
    def take(bios: Structure) -> Value | None:
        byte = bios.number(dmi.BIOS_CHARACTERISTICS_2, 1)
        return None if byte is None else which.of(byte)

    return smbios(dmi.Type.BIOS, take, f"BIOS Characteristics Extension Byte 2 {which.name}")


def sockets_off(snapshot: Snapshot) -> Read:
    """Sockets with a processor that is not enabled; empty where all are."""
    found = smbios_of(snapshot, dmi.Type.PROCESSOR)
    if isinstance(found, Unknown):
        return found
    there = [socket for socket in found if populated(socket)]
    states = [dmi.ProcessorStatus(socket.number(dmi.PROCESSOR_STATUS, 1) or 0).cpu_status for socket in there]
    off = [
        f"{socket.string(0x04) or f'handle {socket.handle:#x}'}: {_status(state)}"
        for socket, state in zip(there, states, strict=True)
        if state != dmi.CpuStatus.ENABLED
    ]
    return (Seen("; ".join(off)[:200], f"{len(there)} of {len(found)} sockets have a processor"),)


def _status(state: int) -> str:
    known = set(dmi.CpuStatus)
    return dmi.CpuStatus(state).name.lower().replace("_", " ") if state in known else f"status {state}"


def cores_off(snapshot: Snapshot) -> Read:
    """Cores that the firmware did not enable, over all sockets."""
    found = smbios_of(snapshot, dmi.Type.PROCESSOR)
    if isinstance(found, Unknown):
        return found
    counts = [_cores(socket) for socket in found if populated(socket)]
    if not counts or any(there == 0 or on == 0 for there, on in counts):
        return Unknown("SMBIOS does not say how many cores the processors have")
    there, on = (sum(column) for column in zip(*counts, strict=True))
    return (Seen(max(there - on, 0), f"{on} of {there} cores"),)


def _cores(socket: Structure) -> tuple[int, int]:
    """Cores, and those enabled; 0 where the structure does not say."""
    pairs = ((dmi.PROCESSOR_CORES, dmi.PROCESSOR_CORES_2), (dmi.PROCESSOR_CORES_ENABLED, dmi.PROCESSOR_CORES_ENABLED_2))
    found = [
        (socket.number(wide, 2) if one == dmi.SEE_2 else one) or 0
        for byte, wide in pairs
        for one in [socket.number(byte, 1)]
    ]
    return found[0], found[1]


def installed(snapshot: Snapshot) -> Read:
    """MiB of memory that SMBIOS lists."""
    found = smbios_of(snapshot, dmi.Type.MEMORY_DEVICE)
    if isinstance(found, Unknown):
        return found
    sizes = [size for one in found if (size := module_mib(one))]
    return (Seen(sum(sizes), f"{len(sizes)} modules"),)


def module_mib(device: Structure) -> int:
    """The size of a memory device; 0 for an empty slot, and where the size is not known."""
    size = device.number(dmi.MEMORY_SIZE, 2) or 0
    if size == dmi.SIZE_UNKNOWN:
        return 0
    if size == dmi.SIZE_EXTENDED:
        return (device.number(dmi.MEMORY_EXTENDED_SIZE, 4) or 0) & 0x7FFF_FFFF
    return (size & ~dmi.SIZE_IN_KIB) >> 10 if size & dmi.SIZE_IN_KIB else size


def ecc(array: Structure) -> Value | None:
    """The error correction of an array of system memory."""
    if array.number(dmi.MEMORY_ARRAY_USE, 1) != dmi.USE_SYSTEM_MEMORY:
        return None
    return dmi.ECC.get(array.number(dmi.MEMORY_ARRAY_ECC, 1) or 0)


def named(snapshot: Snapshot) -> Read:
    """Did the maker fill in its name and the model, rather than leave a placeholder?"""
    words = [snapshot.text(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    if None in words:
        return Unknown(why_no_file(snapshot, "/sys/class/dmi/id/sys_vendor"))
    return (Seen(not any(placeholder(word or "") for word in words), " / ".join(word or "" for word in words)[:120]),)


def enabled_cpus(whole: Table) -> int:
    return sum(bool(cpu.flags.enabled) for cpu in madt_cpus(whole))


def all_cpus_online(snapshot: Snapshot) -> Read:
    """Are as many CPUs online as the MADT enables?  With nosmt, maxcpus= or CPUs taken offline they are not."""
    data = table_bytes(snapshot, "APIC")
    if isinstance(data, Unknown):
        return data
    if not snapshot.get("imported", {}).get("all_cpus", True):
        return Unknown("the snapshot was imported and need not name all CPUs")
    try:
        enabled = enabled_cpus(parsed("APIC", data))
    except Fault as fault:
        return Unknown(f"the table APIC is broken: {fault.saw}")
    online = len(parse(snapshot["cpus"]))
    return (Seen(enabled == online, f"{enabled} enabled, {online} online"),)


def domains(whole: Table) -> int:
    found = srat_affinity(whole)
    return len(found.cpus.keys() | found.memory.keys())


def hypervisor(whole: Table) -> Value | Unknown:
    """The hypervisor that wrote the FADT: eight characters, empty on bare metal."""
    if len(whole.data) < acpi.FADT_HYPERVISOR + 8:
        return Unknown("this revision of the FADT names no hypervisor")
    raw = whole.data[acpi.FADT_HYPERVISOR : acpi.FADT_HYPERVISOR + 8]
    return raw.rstrip(b"\0 ").decode("ascii", "replace")


def spi(attribute: str, snapshot: Snapshot) -> Read:
    """What the driver of the flash controller says: 1 is protected."""
    start = "/sys/bus/pci/drivers/intel-spi/"
    values = {text for _, text in matching(snapshot, start, f"/{attribute}")}
    if not values:
        return Unknown(
            snapshot.obstacle("files") or "no driver of an Intel flash controller shows it (Linux 6.13 does)"
        )
    return (Seen(values == {"1"}, f"{attribute} {' '.join(sorted(values))[:60]}"),)


def manufacturing(snapshot: Snapshot) -> Read:
    """Is the Intel management engine still in manufacturing mode?  Its first status register, bit 4."""
    start = "/sys/class/mei/mei"
    kinds = dict(matching(snapshot, start, "/kind"))
    for name, text in matching(snapshot, start, "/fw_status"):
        first = text.split()[:1]
        if kinds.get(name, "mei") == "mei" and first and re.fullmatch("[0-9A-Fa-f]{1,8}", first[0]):
            return (Seen(bool(int(first[0], 16) & MANUFACTURING), f"HFSTS1 {first[0]}"),)
    return Unknown(snapshot.obstacle("files") or "there is no management engine that shows its status")


def pending(snapshot: Snapshot) -> Read:
    """Does a changed setting of the firmware wait for a reboot?"""
    values = [text for _, text in matching(snapshot, "/sys/class/firmware-attributes/", "/attributes/pending_reboot")]
    return (Seen("1" in values, " ".join(values)[:60]),) if values else Unknown(no_setting(snapshot))


def _setting(purpose: str, meaning: str, *refs: str) -> Fact:
    return Fact(f"setup.{purpose}", setting(purpose), f"firmware setup: {meaning}", SETUP, refs)


CHARACTERISTICS = dmi.ProcessorCharacteristics
# fmt: off
SMBIOS = (
    #    id                      source                                                          meaning                                                     cite       refs
    Fact("smbios.cpu_64bit",     characteristic(CHARACTERISTICS.capable_64bit),                  "SMBIOS: the processor is capable of 64 bits",              PROCESSOR, ("BI-017",)),
    Fact("smbios.cpu_cores",     characteristic(CHARACTERISTICS.multi_core),                     "SMBIOS: the processor has several cores",                  PROCESSOR, ("BI-018",)),
    Fact("smbios.cpu_threads",   characteristic(CHARACTERISTICS.hardware_thread),                "SMBIOS: the processor has several threads a core",         PROCESSOR, ("BI-019",)),
    Fact("smbios.cpu_nx",        characteristic(CHARACTERISTICS.execute_protection),             "SMBIOS: the processor is capable of no-execute",           PROCESSOR, ("BI-020",)),
    Fact("smbios.cpu_vmx_svm",   characteristic(CHARACTERISTICS.enhanced_virtualization),        "SMBIOS: the processor is capable of virtualization, on or not", PROCESSOR, ("BI-021",)),
    Fact("smbios.cpu_power",     characteristic(CHARACTERISTICS.power_performance_control),      "SMBIOS: the processor saves power",                        PROCESSOR, ("BI-022",)),
    Fact("smbios.cpu_128bit",    characteristic(CHARACTERISTICS.capable_128bit),                 "SMBIOS: the processor is capable of 128 bits",             PROCESSOR, ("BI-023",)),
    Fact("smbios.uefi",          bios_flag(dmi.BiosCharacteristics2.uefi),                       "SMBIOS: the firmware supports UEFI",                       BIOS,      ("BI-025",)),
    Fact("smbios.virtual",       bios_flag(dmi.BiosCharacteristics2.virtual_machine),            "SMBIOS: this is a virtual machine",                        BIOS,      ("PL-028",)),
    Fact("smbios.sockets_off",   derived("SMBIOS type 4 Status", sockets_off),                   "SMBIOS: sockets whose processor is not enabled",           STATUS,    ("BI-027",)),
    Fact("smbios.cores_off",     derived("SMBIOS type 4 Core Count, Core Enabled", cores_off),   "SMBIOS: cores that the firmware left off",                 STATUS),
    Fact("smbios.memory_mib",    derived("SMBIOS type 17 Size", installed),                      "SMBIOS: MiB of memory",                                    DEVICE),
    Fact("smbios.ecc",           smbios(dmi.Type.MEMORY_ARRAY, ecc, "Memory Error Correction"),  "SMBIOS: error correction of memory",                       ARRAY),
    Fact("dmi.named",            derived("/sys/class/dmi/id", named),                            "the maker filled in its name and the model",               SYSTEM,    ("PL-029",)),
)

ACPI = (
    Fact("acpi.wrong_checksums", derived("ACPI tables", wrong_checksums),                        "ACPI tables whose checksum or length is wrong",            HEADER),
    Fact("madt.cpus",            table("APIC", enabled_cpus, "processors"),                      "MADT: processors that the firmware enables",               MADT,      ("PL-030",)),
    Fact("madt.all_online",      derived("ACPI APIC, /sys/devices/system/cpu/online", all_cpus_online), "all processors of the MADT are online",             MADT,      ("PL-030",)),
    Fact("srat.domains",         table("SRAT", domains, "enabled entries"),                       "SRAT: proximity domains",                                  SRAT),
    Fact("fadt.hypervisor",      table("FACP", hypervisor, "hypervisor vendor identity"),         "FADT: the hypervisor that made it",                        FADT),
    Fact("fadt.no_msi",          field("FACP", acpi.FADT_BOOT_FLAGS, 2, acpi.FadtBootFlags.no_msi), "FADT: the firmware forbids MSIs",                       FADT),
    Fact("wsmt.table",           acpi_table("WSMT"),                                             "the firmware hands over a WSMT table",                     WSMT,      ("SE-095",)),
    Fact("wsmt.fixed_buffers",   field("WSMT", acpi.WSMT_FLAGS, 4, acpi.WsmtFlags.fixed_comm_buffers), "WSMT: SMM checks its buffers",                       WSMT,      ("SE-095",)),
    Fact("wsmt.nested_pointers", field("WSMT", acpi.WSMT_FLAGS, 4, acpi.WsmtFlags.comm_buffer_nested_pointers), "WSMT: SMM checks pointers in its buffers",  WSMT,      ("SE-095",)),
    Fact("wsmt.system_resources", field("WSMT", acpi.WSMT_FLAGS, 4, acpi.WsmtFlags.system_resources), "WSMT: SMM keeps off the system's resources",          WSMT,      ("SE-095",)),
    Fact("tpm2.table",           acpi_table("TPM2"),                                             "the firmware hands over a TPM2 table",                     TPM2,      ("SE-104",)),
    Fact("tpm.version",          number("/sys/class/tpm/tpm0/tpm_version_major"),                "version of the TPM",                                       TPM,       ("SE-104",)),
)

STATE = (
    Fact("efi.secure_boot",      efi_flag("SecureBoot", off_without=True),                                         "Secure Boot is enforced",                                  UEFI,      ("SE-093",)),
    Fact("efi.setup_mode",       efi_flag("SetupMode", off_without=False),                                          "Secure Boot has no keys yet",                              UEFI,      ("SE-094",)),
    Fact("spi.bios_locked",      derived("intel_spi_bios_locked", lambda one: spi("intel_spi_bios_locked", one)), "the BIOS region of the flash is locked",  SPI,       ("SE-101",)),
    Fact("spi.protected",        derived("intel_spi_protected", lambda one: spi("intel_spi_protected", one)), "the flash is protected from the host",        SPI,       ("SE-101",)),
    Fact("me.manufacturing",     derived("/sys/class/mei/mei*/fw_status", manufacturing),        "the management engine is in manufacturing mode",           MEI,       ("SE-105",)),
    Fact("setup.interfaces",     entries("/sys/class/firmware-attributes"),                      "drivers that show the firmware's setup",                   SETUP,     ("BI-029",)),
    Fact("setup.pending",        derived("/sys/class/firmware-attributes/*/attributes/pending_reboot", pending), "a changed setting of the firmware waits for a reboot", SETUP, ("BI-030",)),
)

SETTINGS = (
    _setting("virtualization",    "VT-x or SVM",                        "BI-031", "BI-037", "BI-040", "BI-048", "BI-050"),
    _setting("iommu",             "VT-d or AMD-Vi",                     "BI-032", "BI-038", "BI-041", "BI-049"),
    _setting("txt",               "Trusted Execution Technology",       "BI-033", "BI-039"),
    _setting("dma_protection",    "kernel DMA protection",              "BI-034", "BI-044"),
    _setting("preboot_dma",       "DMA protection before boot",         "BI-034"),
    _setting("smm_mitigation",    "SMM mitigation (WSMT)",              "BI-035"),
    _setting("secure_boot",       "Secure Boot",                        "BI-036"),
    _setting("sr_iov",            "SR-IOV",                             "BI-042"),
    _setting("nx",                "no-execute",                         "BI-043"),
    _setting("memory_encryption", "memory encryption",                  "BI-045", "BI-046"),
    _setting("smt",               "SMT",                                "BI-047"),
    _setting("tpm",               "TPM"),
)
# fmt: on

FACTS = (*SMBIOS, *ACPI, *STATE, *SETTINGS)
