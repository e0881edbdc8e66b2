"""BIOS attributes of server makers as their Redfish services name them (Bios.Attributes; DMTF DSP2046 "Bios").

The names are the makers' own; DMTF defines none.  They are those of dumps of such machines, and of published software
that sets them there (OpenStack Ironic, proliantutils, bmc-toolbox, NVIDIA's Redfish libraries, AMD's SEV guides).
Missing, because nothing shows them: Lenovo's name for VT-d, and Cisco's names (the biosVf... are another interface's).
"""

from typing import NamedTuple


class Setting(NamedTuple):
    """What a setting is called by each maker, best name first.  ``ANY`` holds for makers that are not listed."""

    meaning: str
    names: dict[str, tuple[str, ...]]


# Makers, by what ComputerSystem.Manufacturer begins with, in lower case.
DELL, HPE, LENOVO, SUPERMICRO, ASROCK = "dell", "hpe", "lenovo", "supermicro", "asrock"
ANY = ""  # the reference names of Intel's and AMI's firmware
MAKERS = {
    "dell": DELL, "hpe": HPE, "hewlett": HPE, "lenovo": LENOVO, "supermicro": SUPERMICRO, "super micro": SUPERMICRO,
    "asrock": ASROCK,
}  # fmt: skip

# fmt: off
SETTINGS = {
    "virtualization": Setting("VT-x or SVM", {
        DELL:       ("ProcVirtualization",),  # VT-d as well: one switch
        HPE:        ("ProcVirtualization", "ProcAmdVirtualization"),
        LENOVO:     ("Processors_IntelVirtualizationTechnology", "Processors_SVMMode"),
        SUPERMICRO: ("IntelVirtualizationTechnology",),
        ANY:        ("ProcessorVmxEnable",),
    }),
    "iommu": Setting("VT-d or AMD-Vi", {
        DELL:       ("IommuSupport",),  # AMD; on Intel it is part of ProcVirtualization
        HPE:        ("IntelProcVtd", "ProcAmdIoVt", "ProcAmdIOMMU"),
        SUPERMICRO: ("IntelVTforDirectedI_O_VT_d", "IOMMU"),
        ASROCK:     ("CbsCmnGnbNbIOMMU",),
        ANY:        ("VTdSupport",),
    }),
    "sriov": Setting("SR-IOV", {
        DELL:       ("SriovGlobalEnable",),
        HPE:        ("Sriov",),
        SUPERMICRO: ("SR_IOVSupport", "SR-IOVSupport"),
        ANY:        ("SriovSupport", "SRIOVEnable"),
    }),
    "smt": Setting("SMT", {
        DELL:       ("LogicalProc",),
        HPE:        ("ProcHyperthreading", "ProcSMT"),
        LENOVO:     ("Processors_HyperThreading",),
    }),
    "sme": Setting("SME", {
        DELL:       ("Sme",),
        SUPERMICRO: ("SMEE",),
    }),
    "sme_transparent": Setting("transparent SME", {
        DELL:       ("TransparentSme",),
    }),
    "snp": Setting("SEV-SNP", {
        DELL:       ("Snp",),
        SUPERMICRO: ("SEV-SNPSupport",),
    }),
    "snp_memory": Setting("memory that the RMP table of SEV-SNP covers", {
        SUPERMICRO: ("SNPMemory(RMPTable)Coverage",),
        ASROCK:     ("CbsDbgCpuSnpMemCover",),
    }),
    "sev_asids": Setting("address spaces for SEV", {
        DELL:       ("CpuMinSevAsid",),
        SUPERMICRO: ("SEV-ESASIDSpaceLimit",),
        ASROCK:     ("CbsCmnCpuSevAsidCount",),
    }),
    "tpm": Setting("TPM", {
        DELL:       ("TpmSecurity",),
    }),
    "tpm_hierarchy": Setting("TPM 2.0 hierarchy", {
        DELL:       ("Tpm2Hierarchy",),
    }),
    "secure_boot": Setting("Secure Boot", {
        DELL:       ("SecureBoot",),
    }),
}
# fmt: on

ATTRIBUTES = frozenset(name for setting in SETTINGS.values() for names in setting.names.values() for name in names)

# How makers spell a switch, in lower case.
ON = frozenset({"enabled", "enable", "on", "true", "yes"})
OFF = frozenset({"disabled", "disable", "off", "false", "no"})


def maker(manufacturer: str) -> str:
    """The maker's key in the names of a setting; ``ANY`` for one that is not listed."""
    word = manufacturer.strip().casefold()
    return next((key for prefix, key in MAKERS.items() if word.startswith(prefix)), ANY)
