"""What the makers of servers call a firmware setting: the names of their attribute registries and setup programs.

Redfish shows the names as members of ``Bios.Attributes``, Linux those of notebooks and desktops below
/sys/class/firmware-attributes.  A maker who is not listed, or whose name for a setting is not known, gets the general
words of the remedy alone.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

REDFISH, CLASS, UCS = "Redfish attribute", "attribute of /sys/class/firmware-attributes", "UCS Manager token"
NUMBERED = "Redfish attribute, with a number behind it"

# fmt: off
SETTINGS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    # maker                product       kind      setting -> name
    ("Dell*",              "PowerEdge*", REDFISH, {"vmx": "ProcVirtualization", "svm": "ProcVirtualization", "sr_iov": "SriovGlobalEnable",
                                                   "amd_vi": "IommuSupport", "sme": "Sme", "sev_es": "CpuMinSevAsid", "snp": "Snp"}),
    ("Dell*",              "*",          CLASS,   {"vmx": "Virtualization", "vt_d": "VtForDirectIo"}),
    ("HPE*",               "*",          REDFISH, {"vmx": "ProcVirtualization", "svm": "ProcAmdVirtualization", "vt_d": "IntelProcVtd", "amd_vi": "ProcAmdIoVt", "sr_iov": "Sriov"}),
    ("HP",                 "ProLiant*",  REDFISH, {"vmx": "ProcVirtualization", "svm": "ProcAmdVirtualization", "vt_d": "IntelProcVtd", "amd_vi": "ProcAmdIoVt", "sr_iov": "Sriov"}),
    ("HP*",                "*",          CLASS,   {"vmx": "Virtualization Technology (VTx)", "svm": "SVM CPU Virtualization",
                                                   "vt_d": "Virtualization Technology for Directed I/O (VTd)"}),
    ("L[Ee][Nn][Oo][Vv][Oo]", "*ThinkSystem*", REDFISH, {"vmx": "Processors_IntelVirtualizationTechnology", "svm": "Processors_SVMMode"}),
    ("L[Ee][Nn][Oo][Vv][Oo]", "*",       CLASS,   {"vmx": "VirtualizationTechnology", "vt_d": "VTdFeature", "svm": "AMDSecureVirtualMachine",
                                                   "amd_vi": "IOMMU", "sr_iov": "SRIOVSupport", "xd": "DataExecutionPrevention"}),
    ("Supermicro*",        "*",          NUMBERED, {"vmx": "IntelVirtualizationTechnology", "vt_d": "IntelVTforDirectedI_O_VT_d", "amd_vi": "IOMMU",
                                                   "sr_iov": "SR_IOVSupport", "sme": "SMEE", "sev_es": "SEV-ESASIDSpaceLimit", "snp": "SEV-SNPSupport"}),
    ("ASRockRack*",        "*",          REDFISH, {"amd_vi": "CbsCmnGnbNbIOMMU", "sev_es": "CbsCmnCpuSevAsidCount", "snp": "CbsDbgCpuSnpMemCover"}),
    ("Cisco*",             "*",          UCS,     {"vmx": "biosVfIntelVirtualizationTechnology", "svm": "biosVfSvmMode",
                                                   "vt_d": "biosVfIntelVTForDirectedIO", "amd_vi": "biosVfCbsCmnGnbNbIOMMU"}),
)
# fmt: on


def name_of(setting: str, maker: str, product: str) -> str:
    """One sentence with the maker's own name of a setting; empty where it is not known.

    ``maker`` and ``product`` are those of SMBIOS type 1; where a table row of the maker does not know the setting, a
    later row of another product line is not asked.
    """
    for pattern, products, kind, names in SETTINGS:
        if fnmatchcase(maker, pattern) and fnmatchcase(product, products):
            return f"{maker} calls it {names[setting]} ({kind})." if setting in names else ""
    return ""
