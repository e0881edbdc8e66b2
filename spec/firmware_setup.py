"""Settings in the setup of Dell, HP and Lenovo firmware, as Linux names them in /sys/class/firmware-attributes.

Names from Dell Command | Configure "CLI Reference Guide", Lenovo CDRT "BIOS Settings Reference" (WMI setting names), HP
Client Management Script Library; the drivers are dell-wmi-sysman, think-lmi and hp-bioscfg.
"""

# purpose -> names; a machine has at most one of them for its processor
SETTINGS = {
    "virtualization": (
        "Virtualization",                                       # Dell
        "VirtualizationTechnology",                             # Lenovo, Intel
        "AmdVt", "AMDSecureVirtualMachine",                     # Lenovo, AMD: ThinkPad, ThinkStation
        "Virtualization Technology (VTx)",                      # HP, Intel
        "SVM CPU Virtualization",                               # HP, AMD
    ),
    "iommu": (
        "VtForDirectIo",                                        # Dell
        "VTdFeature", "IOMMU",                                  # Lenovo
        "Virtualization Technology for Directed I/O (VTd)",     # HP
    ),
    "sr_iov": ("SRIOVSupport",),                                # Lenovo ThinkStation
    "smt": ("LogicProc", "HyperThreadingTechnology", "Hyperthreading"),
    "nx": ("DataExecutionPrevention",),                         # Lenovo
    "txt": ("TrustExecution", "TrustedExecution", "TXTFeature", "Trusted Execution Technology (TXT)"),
    "dma_protection": ("KernelDma", "KernelDMAProtection", "DMA Protection"),
    "preboot_dma": ("PreBootDma",),                             # Dell
    "smm_mitigation": ("SmmSecurityMitigation",),               # Dell
    "memory_encryption": ("TSME", "AMDMemoryGuard", "TotalMemoryEncryption"),
    "secure_boot": ("SecureBoot", "Secure Boot"),
    "tpm": ("TpmSecurity", "SecurityChip", "TPM State"),
}  # fmt: skip
ON = frozenset({"enabled", "enable", "on", "yes", "active", "1"})
OFF = frozenset({"disabled", "disable", "off", "no", "inactive", "0"})
