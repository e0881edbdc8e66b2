"""What Linux makes of each known flaw of processors: "Not affected", "Mitigation: ...", "Vulnerable ..."."""

from virtproof.probes.fact import Fact
from virtproof.probes.source import text
from virtproof.spec.cite import linux

CITE = linux("ABI/testing/sysfs-devices-system-cpu", "/sys/devices/system/cpu/vulnerabilities")

# fmt: off
FLAWS = (
    ("gather_data_sampling",      "SE-051"),
    ("ghostwrite",                "SE-052"),  # of RISC-V; x86 is never affected
    ("indirect_target_selection", "SE-053"),
    ("itlb_multihit",             "SE-054"),  # why KVM splits huge pages (kvm.nx_huge_pages)
    ("l1tf",                      "SE-055"),
    ("mds",                       "SE-056"),
    ("meltdown",                  "SE-057"),
    ("mmio_stale_data",           "SE-058"),
    ("old_microcode",             "SE-059"),
    ("reg_file_data_sampling",    "SE-060"),
    ("retbleed",                  "SE-061"),
    ("spec_rstack_overflow",      "SE-062"),
    ("spec_store_bypass",         "SE-063"),
    ("spectre_v1",                "SE-064"),
    ("spectre_v2",                "SE-065"),
    ("srbds",                     "SE-066"),
    ("tsa",                       "SE-067"),
    ("tsx_async_abort",           "SE-068"),
    ("vmscape",                   "SE-069"),
)
# fmt: on

FACTS = tuple(
    Fact(
        f"flaw.{name}",
        text(f"/sys/devices/system/cpu/vulnerabilities/{name}"),
        f"the kernel on {name.replace('_', ' ')}",
        CITE,
        (ref,),
    )
    for name, ref in FLAWS
)
