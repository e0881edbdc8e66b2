"""Remapping of DMA and interrupts: what the firmware hands over, what the kernel made of it."""

from virtproof.probes.fact import Fact
from virtproof.probes.source import acpi_byte, acpi_table, entries, logged, parameter
from virtproof.spec.bits import bit, bits
from virtproof.spec.cite import Cite, linux

VTD = Cite("Intel VT-d specification (D51397-017)", "DMA Remapping Reporting Structure")
IVRS = Cite("AMD I/O Virtualization Technology (IOMMU) Specification (48882)", "I/O Virtualization ACPI Table")
SYSFS = linux("ABI/testing/sysfs-class-iommu", "/sys/class/iommu/<iommu>/")
GROUPS = linux("ABI/testing/sysfs-kernel-iommu_groups", "/sys/kernel/iommu_groups/")
PARAMETERS = linux("admin-guide/kernel-parameters.txt", "intremap")
VFIO = linux("driver-api/vfio.rst", "VFIO - Virtual Function I/O")
WIDTH, FLAGS = 36, 37  # offsets in the DMAR table

# fmt: off
FACTS = (
    #    id                    source                                                               meaning                                    cite        refs
    Fact("dmar.table",         acpi_table("DMAR"),                                                  "the firmware hands over a DMAR table",    VTD,        ("IO-001",)),
    Fact("dmar.intr_remap",    acpi_byte("DMAR", FLAGS, bit(0)),                                    "DMAR: interrupt remapping",               VTD,        ("IO-002",)),
    Fact("dmar.x2apic_opt_out", acpi_byte("DMAR", FLAGS, bit(1)),                                   "DMAR: the firmware asks not to use x2APIC", VTD,      ("IO-003",)),
    Fact("dmar.dma_opt_in",    acpi_byte("DMAR", FLAGS, bit(2)),                                    "DMAR: DMA control opt-in",                VTD,        ("IO-004",)),
    Fact("dmar.width_minus_1", acpi_byte("DMAR", WIDTH, bits(7, 0)),                                "DMAR: DMA address width, minus 1",        VTD,        ("IO-005",)),
    Fact("dmar.units",         entries("/sys/class/iommu", "dmar"),                                 "VT-d units that the kernel uses",         SYSFS,      ("IO-037",)),
    Fact("ivrs.table",         acpi_table("IVRS"),                                                  "the firmware hands over an IVRS table",   IVRS,       ("IO-025",)),
    Fact("ivrs.efr_sup",       acpi_byte("IVRS", 36, bit(0)),                                       "IVRS: extended features are described",   IVRS,       ("IO-026",)),
    Fact("ivrs.dma_opt_in",    acpi_byte("IVRS", 36, bit(1)),                                       "IVRS: DMA remap opt-in",                  IVRS,       ("IO-027",)),
    Fact("ivrs.units",         entries("/sys/class/iommu", "ivhd"),                                 "AMD-Vi units that the kernel uses",       SYSFS,      ("IO-037",)),
    Fact("iommu.groups",       entries("/sys/kernel/iommu_groups"),                                 "IOMMU groups",                            GROUPS,     ("IO-038",)),
    Fact("iommu.intr_remap",   logged(r"DMAR-IR: Enabled IRQ remapping|AMD-Vi: Interrupt remapping enabled", "interrupt remapping enabled"),
                                                                                                    "the kernel enabled interrupt remapping",  PARAMETERS, ("IO-042",)),
    Fact("vfio.unsafe_interrupts", parameter("vfio_iommu_type1", "allow_unsafe_interrupts"),        "VFIO works without interrupt remapping",  VFIO,       ("IO-043",)),
)
# fmt: on
