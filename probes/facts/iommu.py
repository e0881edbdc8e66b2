"""Remapping of DMA and interrupts: what the firmware hands over, what the units can do, what the kernel made of it."""

from __future__ import annotations

from collections import Counter

from virtproof.probes.fact import Fact, Seen, Source, Unknown
from virtproof.probes.firmware.dmar import Dmar
from virtproof.probes.firmware.ivrs import Ivrs
from virtproof.probes.firmware.ivrs import parse as parse_ivrs
from virtproof.probes.snapshot import Snapshot
from virtproof.probes.source import acpi_table, derived, entries, logged, node_exists, parameter
from virtproof.probes.source_firmware import field, of_dmar, of_ivrs, table_bytes
from virtproof.probes.source_linux import is_hex, matching, register_bit
from virtproof.spec.acpi import dmar, ivrs
from virtproof.spec.bits import Field, bit, bits
from virtproof.spec.cite import Cite, linux
from virtproof.spec.fault import Fault

VTD = Cite("Intel VT-d specification (D51397-017)", "DMA Remapping Reporting Structure")
DRHD = Cite(VTD.doc, "DMA Remapping Hardware Unit Definition Structure")
RMRR = Cite(VTD.doc, "Reserved Memory Region Reporting Structure")
ATSR = Cite(VTD.doc, "Root Port ATS Capability Reporting Structure")
SATC = Cite(VTD.doc, "SoC Integrated Address Translation Cache Reporting Structure")
RHSA = Cite(VTD.doc, "Remapping Hardware Static Affinity Structure")
CAP = Cite(VTD.doc, "Capability Register")
ECAP = Cite(VTD.doc, "Extended Capability Register")
IVRS = Cite("AMD I/O Virtualization Technology (IOMMU) Specification (48882)", "I/O Virtualization ACPI Table")
IVHD = Cite(IVRS.doc, "I/O Virtualization Hardware Definition (IVHD) Block")
IVMD = Cite(IVRS.doc, "I/O Virtualization Memory Definition (IVMD) Block")
EFR = Cite(IVRS.doc, "IOMMU Extended Feature Register")
SYSFS = linux("ABI/testing/sysfs-class-iommu", "/sys/class/iommu/<iommu>/")
GROUPS = linux("ABI/testing/sysfs-kernel-iommu_groups", "/sys/kernel/iommu_groups/")
PARAMETERS = linux("admin-guide/kernel-parameters.txt", "intremap")
VFIO = linux("driver-api/vfio.rst", "VFIO - Virtual Function I/O")
ENTRIES_SHOWN = 8

# Since Linux 6.0 the file "features" has two numbers; 6.7 turned their order round (EFR first).
TWO_NUMBERS_TURNED = (6, 7)


def efr_bit(which: Field[bool], name: str) -> Source:
    """A flag of the extended feature register: on where every AMD-Vi unit has it."""

    def read(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
        found = extended_features(snapshot)
        if isinstance(found, Unknown):
            return found
        where, values = found
        return (Seen(all(which.of(value) for value in values), f"{where} {' '.join(map(hex, values))}"),)

    return Source(f"AMD-Vi EFR.{name}", read)


def extended_features(snapshot: Snapshot) -> tuple[str, list[int]] | Unknown:
    """Where the extended feature registers were found, and each unit's: the kernel's files, else the table IVRS."""
    shown = [text for _, text in matching(snapshot, "/sys/class/iommu/", "/amd-iommu/features")]
    values = [value for text in shown if (value := shown_efr(text, snapshot.kernel())) is not None]
    if values and len(values) == len(shown):
        return "amd-iommu/features", values
    data = table_bytes(snapshot, "IVRS")
    if isinstance(data, Unknown):
        return Unknown(snapshot.obstacle("files") or f"{data.reason}; /sys/class/iommu shows no AMD-Vi features")
    try:
        values = [unit.efr for unit in parse_ivrs(data).ivhd if unit.efr is not None]
    except Fault as fault:
        return Unknown(f"the table IVRS is broken: {fault.saw}")
    return ("IVRS", values) if values else Unknown("IVRS has no block that describes extended features")


def shown_efr(text: str, kernel: tuple[int, int]) -> int | None:
    """The first extended feature register out of the kernel's file; ``None`` where it cannot be told from the second.

    Older kernels show one number.  Of two the one that is not zero is it; where both are, the kernel's version decides.
    """
    first, colon, second = text.partition(":")
    if not is_hex(first) or (colon and not is_hex(second)):
        return None
    if not colon:
        return int(first, 16)
    one, other = int(first, 16), int(second, 16)
    if not one or not other:
        return one or other
    if kernel == (0, 0):
        return None
    return one if kernel >= TWO_NUMBERS_TURNED else other


def group_types(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """How many groups have which type of default domain: "DMA-FQ 30, identity 2"."""
    kinds = Counter(text for _, text in matching(snapshot, "/sys/kernel/iommu_groups/", "/type"))
    if kinds:
        return (Seen(", ".join(f"{kind[:20]} {count}" for kind, count in sorted(kinds.items())[:16]), "type"),)
    return Unknown(_no_groups(snapshot, "the kernel shows no type (Linux 5.11 does, to root)"))


def direct_regions(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Groups with memory that must stay mapped one to one; VFIO refuses their devices.  Empty where there are none.

    ``direct-relaxable`` regions (graphics, USB) are no obstacle.
    """
    regions = list(matching(snapshot, "/sys/kernel/iommu_groups/", "/reserved_regions"))
    if not regions:
        return Unknown(_no_groups(snapshot, "the kernel shows no reserved regions"))
    direct = [group for group, text in regions if any(line.split()[2:3] == ["direct"] for line in text.splitlines())]
    return (Seen(" ".join(direct[:64]), f"{len(regions)} groups"),)


def shared_groups(snapshot: Snapshot) -> tuple[Seen, ...] | Unknown:
    """Groups whose devices, bridges aside, are not the functions of one device; empty where there are none."""
    if reason := snapshot.obstacle("pci"):
        return Unknown(reason)
    members: dict[str, list[str]] = {}
    for address, one in snapshot.pci().items():
        if "group" in one and not one["class"].startswith("0x06"):
            members.setdefault(one["group"], []).append(address)
    if not any("group" in one for one in snapshot.pci().values()):
        return Unknown(_no_groups(snapshot, "no PCI function belongs to a group"))
    shared = {
        group: addresses
        for group, addresses in members.items()
        if len({address.rpartition(".")[0] for address in addresses}) > 1
    }
    text = "; ".join(f"{group}: {' '.join(addresses[:4])}" for group, addresses in list(shared.items())[:ENTRIES_SHOWN])
    return (Seen(text, f"{len(members)} groups, {len(shared)} of them shared"),)


def _no_groups(snapshot: Snapshot, otherwise: str) -> str:
    names = snapshot.names("/sys/kernel/iommu_groups")
    return snapshot.obstacle("files") or ("there are no IOMMU groups" if names == [] else otherwise)


def _single_include_all(table: Dmar) -> bool:
    count = Counter(unit.segment for unit in table.drhd if unit.flags.include_pci_all)
    return all(number == 1 for number in count.values())


def _unit_bases(table: Dmar) -> str:
    return " ".join(f"{unit.base:#x}" for unit in table.drhd[:64])


def _rmrr_devices(table: Dmar) -> str:
    found = [f"{region.segment:04x}:{scope}" for region in table.rmrr for scope in region.scopes]
    return " ".join(dict.fromkeys(found[:64]))


def _ivhd_types(table: Ivrs) -> str:
    return " ".join(f"{kind:x}h" for kind in sorted({unit.kind for unit in table.ivhd}))


def cap(which: int) -> Source:
    return register_bit("/sys/class/iommu/", "/intel-iommu/cap", bit(which), "no VT-d unit shows its capabilities")


def ecap(which: int) -> Source:
    return register_bit("/sys/class/iommu/", "/intel-iommu/ecap", bit(which), "no VT-d unit shows its capabilities")


EXTENDED = ivrs.ExtendedFeatures
# fmt: off
FIRMWARE = (
    #    id                       source                                                              meaning                                                cite        refs
    Fact("dmar.table",            acpi_table("DMAR"),                                                 "the firmware hands over a DMAR table",                VTD,        ("IO-001",)),
    Fact("dmar.intr_remap",       field("DMAR", dmar.FLAGS, 1, dmar.DmarFlags.intr_remap),            "DMAR: interrupt remapping",                           VTD,        ("IO-002",)),
    Fact("dmar.x2apic_opt_out",   field("DMAR", dmar.FLAGS, 1, dmar.DmarFlags.x2apic_opt_out),        "DMAR: the firmware asks not to use x2APIC",           VTD,        ("IO-003",)),
    Fact("dmar.dma_opt_in",       field("DMAR", dmar.FLAGS, 1, dmar.DmarFlags.dma_ctrl_platform_opt_in), "DMAR: DMA control opt-in",                         VTD,        ("IO-004",)),
    Fact("dmar.width_minus_1",    field("DMAR", dmar.WIDTH, 1, bits(7, 0)),                           "DMAR: DMA address width, minus 1",                    VTD,        ("IO-005",)),
    Fact("dmar.table_units",      of_dmar(lambda table: len(table.drhd), "DRHD"),                      "DMAR: remapping units",                               DRHD,       ("IO-006",)),
    Fact("dmar.single_include_all", of_dmar(_single_include_all, "DRHD flags"),                       "DMAR: no segment has two units for all its devices",  DRHD,       ("IO-006",)),
    Fact("dmar.unit_bases",       of_dmar(_unit_bases, "DRHD"),                                       "DMAR: addresses of the units' registers",             DRHD,       ("IO-006",)),
    Fact("dmar.mistakes",         of_dmar(lambda table: "; ".join(table.mistakes())[:400], "whole table"), "DMAR: what is wrong with the table",             VTD,        ("IO-006",)),
    Fact("dmar.rmrr",             of_dmar(lambda table: len(table.rmrr), "RMRR"),                      "DMAR: memory reserved for devices (RMRR)",            RMRR,       ("IO-007",)),
    Fact("dmar.rmrr_devices",     of_dmar(_rmrr_devices, "RMRR scopes"),                              "DMAR: devices with reserved memory",                  RMRR,       ("IO-007",)),
    Fact("dmar.atsr",             of_dmar(lambda table: len(table.atsr), "ATSR"),                      "DMAR: reports of root ports with ATS",                ATSR,       ("IO-008",)),
    Fact("dmar.satc",             of_dmar(lambda table: len(table.satc), "SATC"),                      "DMAR: reports of SoC devices with translation caches", SATC,      ("IO-009",)),
    Fact("dmar.rhsa",             of_dmar(lambda table: len(table.rhsa), "RHSA"),                      "DMAR: units with a proximity domain",                 RHSA),
    Fact("ivrs.table",            acpi_table("IVRS"),                                                 "the firmware hands over an IVRS table",               IVRS,       ("IO-025",)),
    Fact("ivrs.efr_sup",          field("IVRS", ivrs.IVINFO, 4, ivrs.IvInfo.efr_sup),                 "IVRS: extended features are described",               IVRS,       ("IO-026",)),
    Fact("ivrs.dma_opt_in",       field("IVRS", ivrs.IVINFO, 4, ivrs.IvInfo.dma_remap),               "IVRS: DMA remap opt-in",                              IVRS,       ("IO-027",)),
    Fact("ivrs.table_units",      of_ivrs(lambda table: table.units, "IVHD"),                          "IVRS: IOMMUs",                                        IVHD),
    Fact("ivrs.ivhd_types",       of_ivrs(_ivhd_types, "IVHD"),                                       "IVRS: types of hardware definition blocks",           IVHD),
    Fact("ivrs.ivmd",             of_ivrs(lambda table: len(table.ivmd), "IVMD"),                      "IVRS: memory definitions (IVMD)",                     IVMD),
    Fact("ivrs.mistakes",         of_ivrs(lambda table: "; ".join(table.mistakes())[:400], "whole table"), "IVRS: what is wrong with the table",             IVRS),
)

UNITS = (
    Fact("dmar.units",            entries("/sys/class/iommu", "dmar"),                                "VT-d units that the kernel uses",                     SYSFS,      ("IO-037",)),
    Fact("vt_d.posted_interrupts", cap(59),                                                           "VT-d units post interrupts",                          CAP,        ("IO-011",)),
    Fact("vt_d.first_level_1g",   cap(56),                                                            "VT-d units: 1 GiB pages in first-stage tables",       CAP,        ("IO-012",)),
    Fact("vt_d.first_level_5",    cap(60),                                                            "VT-d units: 5-level first-stage tables",              CAP,        ("IO-013",)),
    Fact("vt_d.caching_mode",     cap(7),                                                             "VT-d units cache what is not present: they are emulated", CAP,    ("IO-014",)),
    Fact("vt_d.intr_remap",       ecap(3),                                                            "VT-d units remap interrupts",                         ECAP,       ("IO-015",)),
    Fact("vt_d.extended_intr",    ecap(4),                                                            "VT-d units take x2APIC destinations",                 ECAP,       ("IO-016",)),
    Fact("vt_d.pass_through",     ecap(6),                                                            "VT-d units can pass DMA through untranslated",        ECAP,       ("IO-017",)),
    Fact("vt_d.snoop_control",    ecap(7),                                                            "VT-d units can enforce snooping",                     ECAP,       ("IO-018",)),
    Fact("vt_d.queued_invalidation", ecap(1),                                                         "VT-d units take queued invalidations",                ECAP,       ("IO-019",)),
    Fact("vt_d.device_tlb",       ecap(2),                                                            "VT-d units support device TLBs (ATS)",                ECAP,       ("IO-020",)),
    Fact("vt_d.pasid",            ecap(40),                                                           "VT-d units support PASIDs",                           ECAP,       ("IO-021",)),
    Fact("vt_d.nested",           ecap(26),                                                           "VT-d units translate in two stages",                  ECAP,       ("IO-022",)),
    Fact("vt_d.scalable",         ecap(43),                                                           "VT-d units have scalable mode",                       ECAP,       ("IO-023",)),
    Fact("vt_d.second_level_ad",  ecap(45),                                                           "VT-d units set accessed and dirty bits",              ECAP,       ("IO-024",)),
    Fact("ivrs.units",            entries("/sys/class/iommu", "ivhd"),                                "AMD-Vi units that the kernel uses",                   SYSFS,      ("IO-037",)),
    Fact("amd_vi.x2apic",         efr_bit(EXTENDED.xt_sup, "XTSup"),                                  "AMD-Vi units take x2APIC destinations",               EFR,        ("IO-028",)),
    Fact("amd_vi.guest_translation", efr_bit(EXTENDED.gt_sup, "GTSup"),                               "AMD-Vi units translate in two stages",                EFR,        ("IO-029",)),
    Fact("amd_vi.guest_apic",     efr_bit(EXTENDED.ga_sup, "GASup"),                                  "AMD-Vi units have a guest virtual APIC",              EFR,        ("IO-030",)),
    Fact("amd_vi.ppr",            efr_bit(EXTENDED.ppr_sup, "PPRSup"),                                "AMD-Vi units take page requests",                     EFR,        ("IO-031",)),
    Fact("amd_vi.nx",             efr_bit(EXTENDED.nx_sup, "NXSup"),                                  "AMD-Vi units have no-execute",                        EFR,        ("IO-032",)),
    Fact("amd_vi.guest_vapic_mode", efr_bit(EXTENDED.gam_vapic, "GAMSup"),                            "AMD-Vi units post interrupts to virtual APICs",       EFR,        ("IO-033",)),
    Fact("amd_vi.accessed",       efr_bit(EXTENDED.ha_sup, "HASup"),                                  "AMD-Vi units set accessed bits",                      EFR,        ("IO-034",)),
    Fact("amd_vi.dirty",          efr_bit(EXTENDED.hd_sup, "HDSup"),                                  "AMD-Vi units set dirty bits",                         EFR,        ("IO-035",)),
    Fact("amd_vi.snp",            efr_bit(EXTENDED.snp_sup, "SNPSup"),                                "AMD-Vi units support SEV-SNP",                        EFR,        ("IO-036",)),
)

KERNEL = (
    Fact("iommu.groups",          entries("/sys/kernel/iommu_groups"),                                "IOMMU groups",                                        GROUPS,     ("IO-038",)),
    Fact("iommu.group_types",     derived("/sys/kernel/iommu_groups/*/type", group_types),            "default domains of the IOMMU groups",                 GROUPS,     ("IO-039",)),
    Fact("iommu.shared_groups",   derived("/sys/bus/pci/devices/*/iommu_group", shared_groups),       "IOMMU groups with more than one device",              VFIO,       ("IO-040",)),
    Fact("iommu.direct_regions",  derived("/sys/kernel/iommu_groups/*/reserved_regions", direct_regions), "IOMMU groups with memory mapped one to one",     GROUPS,     ("IO-041",)),
    Fact("iommu.intr_remap",      logged(r"DMAR-IR: Enabled IRQ remapping|AMD-Vi: Interrupt remapping enabled", "interrupt remapping enabled"),
                                                                                                      "the kernel enabled interrupt remapping",              PARAMETERS, ("IO-042",)),
    Fact("vfio.unsafe_interrupts", parameter("vfio_iommu_type1", "allow_unsafe_interrupts"),          "VFIO works without interrupt remapping",              VFIO,       ("IO-043",)),
    Fact("vfio.node",             node_exists("/dev/vfio/vfio"),                                      "/dev/vfio/vfio exists",                               VFIO,       ("IO-044",)),
    Fact("iommufd.node",          node_exists("/dev/iommu"),                                          "/dev/iommu exists",                                   linux("userspace-api/iommufd.rst", "IOMMUFD"), ("IO-044",)),
)
# fmt: on

FACTS = (*FIRMWARE, *UNITS, *KERNEL)
