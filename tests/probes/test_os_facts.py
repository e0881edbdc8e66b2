"""What files, devices and firmware of a host mean: each fact in both directions, and unknown where it must be."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.probes.firmware import samples
from virtproof.probes.ask import ask
from virtproof.probes.facts import boot
from virtproof.probes.facts.firmware import module_mib
from virtproof.probes.facts.iommu import shown_efr
from virtproof.probes.firmware.smbios import structures
from virtproof.probes.imports.merge import Dump, import_dumps
from virtproof.probes.snapshot import checked, dumps
from virtproof.probes.sources import smbios

GROUPS = "/sys/kernel/iommu_groups"
UNIT = "/sys/class/iommu/dmar{}/intel-iommu/{}"


def value(machine, fact):
    return ask(machine.collect()).value(fact)


def reason(machine, fact):
    answered = ask(machine.collect())[fact]
    assert answered.value is None
    return answered.answer.reason


def test_the_tables_of_a_host_with_everything(intel):
    for name, data in samples.TABLES.items():
        intel.file(f"/sys/firmware/acpi/tables/{name}", data)
    answers = ask(intel.collect())
    assert {
        name: answers.value(name)
        for name in (
            "dmar.intr_remap", "dmar.x2apic_opt_out", "dmar.dma_opt_in", "dmar.width_minus_1", "dmar.table_units",
            "dmar.single_include_all", "dmar.unit_bases", "dmar.mistakes", "dmar.rmrr", "dmar.rmrr_devices",
            "dmar.atsr", "dmar.satc", "dmar.rhsa", "ivrs.efr_sup", "ivrs.dma_opt_in", "ivrs.table_units",
            "ivrs.ivhd_types", "ivrs.ivmd", "ivrs.mistakes", "amd_vi.snp", "amd_vi.guest_apic", "amd_vi.ppr",
            "madt.cpus", "madt.all_online", "srat.domains", "fadt.hypervisor", "fadt.no_msi", "wsmt.table",
            "wsmt.fixed_buffers", "wsmt.nested_pointers", "wsmt.system_resources", "acpi.wrong_checksums",
        )
    } == {
        "dmar.intr_remap": True, "dmar.x2apic_opt_out": True, "dmar.dma_opt_in": True, "dmar.width_minus_1": 51,
        "dmar.table_units": 2, "dmar.single_include_all": True, "dmar.unit_bases": "0xd0000000 0xd1000000",
        "dmar.mistakes": "", "dmar.rmrr": 1, "dmar.rmrr_devices": "0000:00:02.0 0000:00:1c.4/00.2", "dmar.atsr": 1,
        "dmar.satc": 1, "dmar.rhsa": 1, "ivrs.efr_sup": True, "ivrs.dma_opt_in": True, "ivrs.table_units": 1,
        "ivrs.ivhd_types": "10h 11h 40h", "ivrs.ivmd": 1, "ivrs.mistakes": "", "amd_vi.snp": True,
        "amd_vi.guest_apic": True, "amd_vi.ppr": False, "madt.cpus": 3, "madt.all_online": False, "srat.domains": 2,
        "fadt.hypervisor": "KVMKVMKV", "fadt.no_msi": True, "wsmt.table": True, "wsmt.fixed_buffers": True,
        "wsmt.nested_pointers": False, "wsmt.system_resources": True, "acpi.wrong_checksums": "",
    }  # fmt: skip


def test_a_table_that_lies_is_unknown(intel):
    intel.file("/sys/firmware/acpi/tables/DMAR", samples.dmar(samples.drhd(0x1000, scopes=bytes(8))))
    assert "is broken" in reason(intel, "dmar.rmrr")
    assert value(intel, "dmar.intr_remap") is True  # that byte is there
    intel.file("/sys/firmware/acpi/tables/DMAR", samples.DMAR[:-1])
    assert "is broken" in reason(intel, "dmar.intr_remap")
    assert value(intel, "acpi.wrong_checksums") == "DMAR"


def units(machine, cap: str, *ecaps: str):
    for number, ecap in enumerate(ecaps):
        machine.file(UNIT.format(number, "cap"), cap + "\n").file(UNIT.format(number, "ecap"), ecap + "\n")
    return machine


def test_what_vt_d_units_can_do(intel):
    units(intel, f"{1 << 59 | 1 << 7:x}", f"{1 << 3 | 1 << 43:x}", f"{1 << 3:x}")
    answers = ask(intel.collect())
    assert (answers.value("vt_d.posted_interrupts"), answers.value("vt_d.caching_mode")) == (True, True)
    assert (answers.value("vt_d.first_level_1g"), answers.value("vt_d.intr_remap")) == (False, True)
    assert answers.value("vt_d.scalable") is False  # one of them lacks it
    assert "not on dmar1" in answers["vt_d.scalable"].evidence


def test_units_that_show_nothing_are_unknown(intel):
    assert reason(intel, "vt_d.pasid") == "no VT-d unit shows its capabilities"
    units(intel, "x" * 17, "-1")
    assert value(intel, "vt_d.pasid") is None


# fmt: off
EFR = [
    # the file             kernel    register
    ("246577efa2254afa",   (5, 10),  0x246577EFA2254AFA),
    ("0:246577efa2254afa", (6, 1),   0x246577EFA2254AFA),
    ("246577efa2254afa:0", (6, 8),   0x246577EFA2254AFA),
    ("10:20",              (6, 6),   0x20),
    ("10:20",              (6, 7),   0x10),
    ("10:20",              (0, 0),   None),
    ("0:0",                (0, 0),   0),
    ("xyz",                (6, 8),   None),
    ("1:",                 (6, 8),   None),
]
# fmt: on


@pytest.mark.parametrize(("text", "kernel", "register"), EFR)
def test_the_two_forms_of_amd_features(text, kernel, register):
    assert shown_efr(text, kernel) == register


def test_amd_features_of_the_kernel_come_first(amd):
    amd.file("/sys/firmware/acpi/tables/IVRS", samples.IVRS)
    assert value(amd, "amd_vi.snp") is True
    amd.file("/sys/class/iommu/ivhd0/amd-iommu/features", f"{0x0200_0000_0000_0002:x}:0\n")
    assert (value(amd, "amd_vi.snp"), value(amd, "amd_vi.ppr")) == (False, True)


def test_iommu_groups(intel):
    assert "type" in reason(intel, "iommu.group_types")
    intel.file(f"{GROUPS}/0/type", "DMA-FQ\n").file(f"{GROUPS}/1/type", "DMA-FQ\n").file(f"{GROUPS}/2/type", "identity")
    msi, relaxed = "0x00000000fee00000 0x00000000feefffff msi\n", "0x1 0x2 direct-relaxable\n"
    intel.file(f"{GROUPS}/0/reserved_regions", msi).file(f"{GROUPS}/1/reserved_regions", relaxed)
    assert value(intel, "iommu.group_types") == "DMA-FQ 2, identity 1"
    assert value(intel, "iommu.direct_regions") == ""
    intel.file(f"{GROUPS}/2/reserved_regions", msi + "0x7b800000 0x7fffffff direct\n")
    assert value(intel, "iommu.direct_regions") == "2"


def functions(snapshot, **devices):
    """Replace the PCI functions of a snapshot; names are 0000:00:NN.F written as d00_0."""
    base = {"class": "0x020000", "vendor": "0x8086", "device": "0x1572"}
    named = {f"0000:00:{name[1:3]}.{name[4]}": {**base, **one} for name, one in devices.items()}
    snapshot["pci"] = {"devices": named, "unread": []}
    return ask(checked(dict(snapshot)))


def test_devices_that_share_a_group(intel):
    together = {"d02_0": {"group": "7"}, "d02_1": {"group": "7"}, "d01_0": {"group": "7", "class": "0x060400"}}
    assert functions(intel.collect(), **together).value("iommu.shared_groups") == ""
    answers = functions(intel.collect(), **together, d03_0={"group": "7"}, d04_0={"group": "8"})
    assert answers.value("iommu.shared_groups").startswith("7: 0000:00:02.0")
    assert functions(intel.collect(), d02_0={}).value("iommu.shared_groups") is None


def test_ports_that_keep_devices_apart(intel):
    good, half = {"port_type": 4, "extended": [13], "acs": [0x1F, 0x1D]}, {"port_type": 6, "acs": [0x1F, 0x1C]}
    card = {"port_type": 0, "extended": [0x0F, 0x10], "sriov_numvfs": 2, "reset": "flr"}
    answers = functions(intel.collect(), d01_0=good, d02_0=card)
    assert answers.value("pci.ports_without_acs") == ""
    assert (answers.value("pci.ats"), answers.value("pci.pri"), answers.value("sriov.vfs")) == (1, 0, 2)
    assert (answers.value("sriov.blocked"), answers.value("pci.without_reset")) == ("0000:00:02.0", "0000:00:01.0")
    answers = functions(intel.collect(), d01_0=good, d03_0=half, d04_0={"port_type": 4, "extended": []})
    assert answers.value("pci.ports_without_acs") == "0000:00:03.0 0000:00:04.0"
    answers = functions(intel.collect(), d01_0={"numa_node": -1}, d02_0={"numa_node": 0})
    assert (answers.value("pci.without_node"), answers.value("pci.ats")) == (1, None)


@pytest.mark.parametrize(
    ("text", "above"),
    [
        ("4000000000-7fffffffff : PCI Bus 0000:00", True),
        ("f0000000-f1ffffff : PCI Bus 0000:00\n100000000-1ffffffff : System RAM", False),
        ("00000000-00000000 : PCI Bus 0000:00", None),
        ("", None),
    ],
)
def test_windows_above_4_gib(intel, text, above):
    intel.file("/proc/iomem", text + "\n")
    assert value(intel, "pci.window_above_4g") is above


def test_netlink_answers_only_when_asked(intel):
    snapshot = intel.collect()
    assert ask(snapshot).value("sriov.netlink_vfs") is None
    snapshot["network"] = {
        "links": {"br0": {"kind": "bridge"}, "tap0": {"kind": "tap"}},
        "vfs": {"eth0": {"vfs": 4, "trusted": 0, "spoof_checked": 4}},
        "eswitch": {"pci/0000:3b:00.0": "switchdev", "pci/0000:3c:00.0": ""},
        "unread": [],
    }
    answers = ask(checked(dict(snapshot)))
    assert (answers.value("sriov.netlink_vfs"), answers.value("net.eswitch")) == (4, "switchdev")
    assert (answers.value("net.bridges"), answers.value("net.taps")) == (1, 1)


def with_smbios(machine):
    machine.file(smbios.ENTRY_POINT, samples.entry_3()).file(smbios.TABLE, samples.SMBIOS)
    return machine


def test_smbios_of_a_server(intel):
    answers = ask(with_smbios(intel).collect())
    assert {name: answers.value(f"smbios.{name}") for name in (
        "cpu_64bit", "cpu_vmx_svm", "cpu_nx", "cpu_128bit", "uefi", "virtual", "memory_mib", "ecc",
    )} == {
        "cpu_64bit": True, "cpu_vmx_svm": True, "cpu_nx": True, "cpu_128bit": False, "uefi": True, "virtual": False,
        "memory_mib": 65536 + 16384, "ecc": "multi-bit ECC",
    }  # fmt: skip
    assert answers.value("smbios.sockets_off") == "CPU41: disabled by bios"
    assert answers.value("smbios.cores_off") == (0x20 - 0x1C) + (300 - 256)


@pytest.mark.parametrize(
    ("size", "extended", "mib"),
    [(0, 0, 0), (0xFFFF, 0, 0), (16384, 0, 16384), (0x8000 | 2048, 0, 2), (0x7FFF, 65536, 65536), (0x7FFF, 1 << 31, 0)],
)
def test_sizes_of_memory_modules(size, extended, mib):
    (device,) = structures(samples.module(1, size, extended))
    assert module_mib(device) == mib


def test_sockets_that_differ_are_unknown(intel):
    data = samples.processor(1, 0x41, 0x40) + samples.processor(2, 0x41, 0x00) + samples.END
    intel.file(smbios.ENTRY_POINT, samples.entry_3()).file(smbios.TABLE, data)
    assert "differ" in reason(intel, "smbios.cpu_vmx_svm")
    assert reason(intel, "smbios.uefi") == "SMBIOS has no structure of type 0"


def efi(machine, **variables: int):
    for name, byte in variables.items():
        machine.file(
            f"/sys/firmware/efi/efivars/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c", bytes((6, 0, 0, 0, byte))
        )
    return machine


def test_secure_boot(intel):
    assert (value(intel, "efi.secure_boot"), value(intel, "efi.setup_mode")) == (False, None)  # booted by a BIOS
    intel.folder("/sys/firmware/efi")
    assert "efivars" in reason(intel, "efi.secure_boot")
    efi(intel, SecureBoot=1, SetupMode=0)
    assert (value(intel, "efi.secure_boot"), value(intel, "efi.setup_mode")) == (True, False)
    efi(intel, SecureBoot=0, SetupMode=1)
    assert (value(intel, "efi.secure_boot"), value(intel, "efi.setup_mode")) == (False, True)


SETUP = "/sys/class/firmware-attributes"
VTD = "Virtualization Technology for Directed I!O (VTd)"  # sysfs has no names with a slash
# fmt: off
MAKERS = [
    # driver            attribute                   text        fact                    value
    ("dell-wmi-sysman", "Virtualization",           "Enabled",  "setup.virtualization", True),
    ("dell-wmi-sysman", "VtForDirectIo",            "Disabled", "setup.iommu",          False),
    ("thinklmi",        "VirtualizationTechnology", "Enable",   "setup.virtualization", True),
    ("thinklmi",        "AmdVt",                    "Disable",  "setup.virtualization", False),
    ("thinklmi",        "IOMMU",                    "Auto",     "setup.iommu",          "Auto"),
    ("thinklmi",        "DataExecutionPrevention",  "Disable",  "setup.nx",             False),
    ("hp-bioscfg",      "SVM CPU Virtualization",   "Enable",   "setup.virtualization", True),
    ("hp-bioscfg",      VTD,                        "Enable",   "setup.iommu",          True),
    ("hp-bioscfg",      "Secure Boot",              "Disable",  "setup.secure_boot",    False),
]
# fmt: on


@pytest.mark.parametrize(("driver", "attribute", "text", "fact", "expected"), MAKERS)
def test_the_firmware_setup(intel, driver, attribute, text, fact, expected):
    assert "nobody here" in reason(intel, fact)
    intel.file(f"{SETUP}/{driver}/attributes/{attribute}/current_value", text + "\n")
    intel.file(f"{SETUP}/{driver}/attributes/pending_reboot", "1\n")
    answers = ask(intel.collect())
    assert answers.value(fact) == expected
    assert answers.value("setup.pending") is True
    assert answers.value("setup.interfaces") == 1
    assert "no such setting" in answers["setup.tpm"].answer.reason


def test_the_command_line(intel):
    intel.file("/proc/cmdline", "root=/dev/x kvm_intel.nested=0 intel_iommu=on,sm_on hugepagesz=1G hugepages=8 nosmt\n")
    answers = ask(intel.collect())
    assert answers.value("boot.nested") == "kvm_intel.nested=0"
    assert answers.value("boot.intel_iommu") == "intel_iommu=on,sm_on"
    assert answers.value("boot.hugepages") == "hugepagesz=1G hugepages=8"
    assert (answers.value("boot.nosmt"), answers.value("boot.amd_iommu")) == ("nosmt", "")


def test_every_parameter_that_a_fact_asks_for_is_kept(intel):
    for fact in boot.TOLD:
        for name in fact.source.where.split()[1:]:
            intel.file("/proc/cmdline", f"{name}=1\n")
            assert value(intel, fact.id) == f"{name}=1", fact.id


def test_a_kernel_is_asked_only_for_lines_it_knows(intel):
    intel.log("x86/cpu: something")
    assert value(intel, "log.split_lock") is False
    intel.file("/proc/sys/kernel/osrelease", "5.4.0\n")
    assert "5.7" in reason(intel, "log.split_lock")
    intel.log("x86/split lock detection: #AC: crashing the kernel")
    assert value(intel, "log.split_lock") is True


# fmt: off
LINES = [
    ("log.dmar_errors",     "DMAR: DRHD: handling fault status reg 2"),
    ("log.dmar_errors",     "DMAR: [Firmware Bug]: Your BIOS is broken; DMAR reported at address 0!"),
    ("log.sriov_no_space",  "i40e 0000:3b:00.0: not enough MMIO resources for SR-IOV"),
    ("log.x2apic_refused",  "Your BIOS has requested that x2apic be disabled.\\x0aThis will"),
    ("log.x2apic_refused",  "x2apic: IRQ remapping doesn't support X2APIC mode"),
    ("log.locked_down",     "Kernel is locked down from EFI Secure Boot mode; see man kernel_lockdown.7"),
    ("log.secure_boot",     "secureboot: Secure boot enabled"),
    ("log.microcode_early", "microcode: microcode updated early to revision 0xf0, date = 2021-11-12"),
    ("log.tsc_unstable",    "tsc: Marking TSC unstable due to check_tsc_sync_source failed"),
]
# fmt: on


@pytest.mark.parametrize(("fact", "line"), LINES)
def test_lines_of_the_log(intel, fact, line):
    intel.log("DMAR: IOMMU enabled", "DMAR: Intel(R) Virtualization Technology for Directed I/O")
    assert value(intel, fact) is False
    intel.log(line)
    assert value(intel, fact) is True


def test_how_the_kernel_was_built(intel):
    assert "config" in reason(intel, "kconfig.kvm")
    intel.file("/boot/config-6.1.0-21-amd64", "CONFIG_KVM=m\n# CONFIG_X86_MSR is not set\n")
    answers = ask(intel.collect())
    assert (answers.value("kconfig.kvm"), answers.value("kconfig.msr")) == (True, False)
    assert "does not mention" in answers["kconfig.tun"].answer.reason


def test_lockdown(intel):
    intel.file("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    assert value(intel, "lockdown") == "integrity"
    intel.file("/sys/kernel/security/lockdown", "nothing\n")
    assert value(intel, "lockdown") is None


def test_cores_and_nodes(intel):
    for cpu in range(4):
        intel.file(
            f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"
        )
        intel.file(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", f"{cpu // 2}")
    for node, pages in ((0, 64), (1, 64)):
        folder = f"/sys/devices/system/node/node{node}"
        intel.file(f"{folder}/cpulist", f"{node * 2}-{node * 2 + 1}\n").file(f"{folder}/distance", "10 21\n")
        intel.file(f"{folder}/hugepages/hugepages-2048kB/nr_hugepages", f"{pages}\n")
    intel.file("/sys/devices/system/node/node2/cpulist", "\n")  # memory only
    intel.file("/sys/devices/system/node/node2/hugepages/hugepages-2048kB/nr_hugepages", "0\n")
    answers = ask(intel.collect())
    assert (answers.value("cpu.cores"), answers.value("cpu.sockets"), answers.value("numa.nodes")) == (2, 2, 3)
    assert (answers.value("numa.huge_pages_even"), answers.value("numa.distances")) == (True, "10 21 / 10 21")
    intel.file("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "32\n")
    assert value(intel, "numa.huge_pages_even") is False
    os.unlink(intel.root / "sys/devices/system/cpu/cpu3/topology/thread_siblings_list")
    assert value(intel, "cpu.cores") is None


V1 = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t0\t1\t1\ncpuset\t4\t1\t0\n"


def test_control_groups(intel):
    assert value(intel, "cgroup.version") is None
    intel.file("/proc/cgroups", V1)
    assert (value(intel, "cgroup.version"), value(intel, "cgroup.missing")) == (
        1,
        "cpuacct cpuset memory devices blkio",
    )
    intel.file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
    assert (value(intel, "cgroup.version"), value(intel, "cgroup.missing")) == (2, "")
    intel.file("/sys/fs/cgroup/misc.capacity", "sev 410\nsev_es 99\n")
    assert (value(intel, "cgroup.sev_asids"), value(intel, "cgroup.sev_es_asids")) == (410, 99)
    intel.file("/sys/fs/cgroup/misc.capacity", "res_a 1\n")
    assert value(intel, "cgroup.sev_asids") == 0


def test_memory(intel):
    intel.file(
        "/proc/meminfo", "MemTotal:       16384000 kB\nSwapTotal:       2048000 kB\nSwapFree:        1024000 kB\n"
    )
    intel.file("/sys/kernel/mm/ksm/run", "1\n")
    for number, errors in enumerate((3, 4)):
        intel.file(f"/sys/devices/system/edac/mc/mc{number}/ce_count", f"{errors}\n")
    answers = ask(intel.collect())
    assert (answers.value("memory.mib"), answers.value("memory.swap_used_mib")) == (16000, 1000)
    assert (answers.value("ksm.run"), answers.value("edac.corrected")) == (1, 7)
    assert answers.value("edac.uncorrected") is None


def test_the_flash_and_the_management_engine(intel):
    assert value(intel, "spi.bios_locked") is None
    intel.file("/sys/bus/pci/drivers/intel-spi/0000:00:1f.5/intel_spi_bios_locked", "1\n")
    intel.file("/sys/class/mei/mei0/fw_status", "90000255\n3B850106\n").file("/sys/class/mei/mei0/kind", "mei\n")
    assert (value(intel, "spi.bios_locked"), value(intel, "me.manufacturing")) == (True, True)
    intel.file("/sys/class/mei/mei0/fw_status", "90000245\n3B850116\n")
    assert value(intel, "me.manufacturing") is False
    intel.file("/sys/class/mei/mei0/kind", "itouch\n")
    assert value(intel, "me.manufacturing") is None


def test_names_that_nobody_filled_in(intel):
    intel.file("/sys/class/dmi/id/sys_vendor", "Contoso\n").file("/sys/class/dmi/id/product_name", "Default string\n")
    assert value(intel, "dmi.named") is False
    intel.file("/sys/class/dmi/id/product_name", "R1\n")
    assert value(intel, "dmi.named") is True


def test_what_an_import_does_not_hold_is_unknown_because_of_that():
    answers = ask(import_dumps([Dump("x.dump", samples.DMAR)]))
    for fact in ("vt_d.pasid", "numa.nodes", "edac.corrected", "setup.nx", "smbios.uefi", "kconfig.kvm", "net.taps"):
        assert "import" in answers[fact].answer.reason or "does not hold" in answers[fact].answer.reason, fact


THIRD_LINE = re.compile(r"^DMAR @.*\n.*\n.*\n *0020: (?:[0-9A-F]{2} ){4}([0-9A-F]{2}) ([0-9A-F]{2})", re.MULTILINE)


def test_every_real_host_gives_its_table_s_facts():
    folder = Path(os.environ.get("VIRTPROOF_DATA", Path(__file__).parents[3] / "shared" / "data")) / "acpi"
    paths = sorted(folder.glob("*.acpidump"))
    if not paths:
        pytest.skip(f"no real dumps in {folder} (set VIRTPROOF_DATA)")
    remapping = 0
    for path in paths:
        answers = ask(import_dumps([Dump(path.name, path.read_bytes())]))
        dmar = THIRD_LINE.search(path.read_text("latin-1"))
        if dmar:
            assert answers.value("dmar.width_minus_1") == int(dmar[1], 16), path.name
            assert answers.value("dmar.intr_remap") is bool(int(dmar[2], 16) & 1), path.name
            assert answers.value("dmar.mistakes") == "", path.name
            remapping += 1
        assert answers.value("madt.cpus"), path.name
        assert answers.value("madt.all_online") is None, path.name
    assert remapping == 21


def test_256_cpus_and_their_devices_fit_in_a_mebibyte(intel, hosts):
    intel.cpus = 256
    intel.cpuinfo(" ".join(f"flag{n}" for n in range(160)))
    for cpu in range(256):
        intel.file(
            f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 128},{cpu % 128 + 128}\n"
        )
        intel.file(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id", f"{cpu // 64 % 2}\n")
    for number in range(600):
        name = f"{number // 256:04x}:{number % 256:02x}:00.0"
        intel.file(f"/sys/bus/pci/devices/{name}/class", "0x088000\n").file(
            f"/sys/bus/pci/devices/{name}/numa_node", "1\n"
        )
        intel.file(f"{GROUPS}/{number}/type", "DMA-FQ\n")
        intel.file(f"{GROUPS}/{number}/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n")
    for name, data in samples.TABLES.items():
        intel.file(f"/sys/firmware/acpi/tables/{name}", data)
    many = b"".join(bytes((9, 16, 0, 0)) + samples.u32(n) + samples.u32(1) + samples.u32(n) for n in range(256))
    intel.file("/sys/firmware/acpi/tables/APIC", samples.acpi("APIC", bytes(8) + many))
    snapshot = with_smbios(intel).collect()
    assert len(dumps(snapshot)) < 1 << 20
    answers = ask(snapshot)
    assert (answers.value("madt.cpus"), answers.value("cpu.cores"), answers.value("madt.all_online")) == (
        256,
        128,
        True,
    )
    assert json.loads(dumps(snapshot)) == snapshot
