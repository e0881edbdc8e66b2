"""Which cause is named on hosts that are broken in one way each."""

from __future__ import annotations

import pytest

from virtproof.kvm import KvmUnavailable
from virtproof.probes.ask import ask
from virtproof.probes.causes import CAUSES
from virtproof.probes.claims import claims
from virtproof.probes.snapshot import Snapshot, dumps
from virtproof.results import ClaimResult, Layer

YES, NO, UNKNOWN, NA = Layer.YES, Layer.NO, Layer.UNKNOWN, Layer.NOT_APPLICABLE


def claimed(snapshot: Snapshot) -> dict[str, ClaimResult]:
    found = {claim.name: claim for claim in claims(ask(snapshot))}
    assert all(claim.cause is None or claim.cause in CAUSES for claim in found.values())
    return found


def layers(claim: ClaimResult) -> tuple[Layer, Layer, Layer, Layer]:
    return claim.silicon, claim.firmware, claim.kernel, claim.functional


def off(machine, module: str) -> None:
    """The module could not start: nothing of it is there."""
    for folder in sorted((machine.root / "sys/module" / module).rglob("*"), reverse=True):
        folder.rmdir() if folder.is_dir() else folder.unlink()
    (machine.root / "sys/module" / module).rmdir()
    (machine.root / "dev/kvm").unlink()


def test_a_healthy_intel_host_claims_vmx_and_what_comes_with_it(intel):
    found = claimed(intel.collect())
    assert layers(found["vmx"]) == (YES, YES, YES, YES)
    for name in ("ept", "unrestricted_guest", "vpid", "nested"):
        assert layers(found[name])[:3] == (YES, YES, YES), name
    assert layers(found["svm"]) == layers(found["npt"]) == layers(found["amd_vi"]) == (NA, NA, NA, NA)
    assert layers(found["vt_d"])[:3] == (YES, YES, YES)
    assert layers(found["kvm"]) == (NA, NA, YES, YES)
    assert {name: claim.cause for name, claim in found.items() if claim.cause} == {"tdx": "firmware-off-tdx"}


def test_a_healthy_amd_host_claims_svm_and_what_comes_with_it(amd):
    found = claimed(amd.collect())
    assert layers(found["svm"]) == (YES, YES, YES, YES)
    assert layers(found["npt"])[:3] == (YES, YES, YES)
    assert layers(found["nested"])[:3] == (YES, YES, YES)
    assert layers(found["vmx"]) == layers(found["unrestricted_guest"]) == (NA, NA, NA, NA)
    assert {name: claim.cause for name, claim in found.items() if claim.cause} == {
        "la57": "not-in-silicon", "tsc_deadline": "not-in-silicon", "avic": "module-parameter",
        "x2avic": "module-parameter", "sev": "not-in-silicon",
        "sev_es": "not-in-silicon", "sev_snp": "not-in-silicon",
    }  # fmt: skip


def test_feature_control_locked_without_vmx_is_the_firmware(intel, hosts):
    intel.msrs = {**hosts.INTEL_MSRS, 0x3A: 0x1}
    intel.kvm = hosts.missing_device()
    off(intel, "kvm_intel")
    intel.cpuinfo(hosts.BOOT_FLAGS)  # Linux cleared vmx
    found = claimed(intel.collect())
    for name in ("vmx", "ept", "unrestricted_guest", "nested", "kvm"):
        assert found[name].cause == "firmware-off-vmx", name
    assert layers(found["vmx"])[:3] == (YES, NO, NO)
    assert "0x1 on CPUs 0-3" in found["vmx"].cause_text
    assert found["vmx"].remedy == "enable-in-firmware"


@pytest.mark.parametrize(("value", "word"), [(0x18, "locked"), (0x10, "not locked")])
def test_svmdis_is_the_firmware(amd, hosts, value, word):
    amd.msrs = {**hosts.AMD_MSRS, 0xC001_0114: value}
    amd.kvm = hosts.missing_device()
    off(amd, "kvm_amd")
    found = claimed(amd.collect())
    for name in ("svm", "npt", "nested", "kvm"):
        assert found[name].cause == "firmware-off-svm", name
    assert f"({word};" in found["svm"].cause_text


def test_an_open_feature_control_is_not_off(intel, hosts):
    intel.msrs = {**hosts.INTEL_MSRS, 0x3A: 0x0}
    assert claimed(intel.collect())["vmx"].firmware is YES


def test_the_kernel_log_gives_the_firmware_away_where_msrs_cannot_be_read(intel, hosts):
    intel.msrs = None
    intel.kvm = hosts.missing_device()
    off(intel, "kvm_intel")
    intel.cpuinfo(hosts.BOOT_FLAGS).log("x86/cpu: VMX (outside TXT) disabled by BIOS")
    vmx = claimed(intel.collect())["vmx"]
    assert (vmx.firmware, vmx.cause) == (NO, "firmware-off-reported")
    assert "disabled by BIOS" in vmx.cause_text


def test_a_flag_that_linux_cleared_points_at_the_firmware_only_where_linux_does_so(intel, hosts):
    intel.msrs = None
    intel.kvm = hosts.missing_device()
    off(intel, "kvm_intel")
    intel.cpuinfo(hosts.BOOT_FLAGS)
    assert claimed(intel.collect())["vmx"].cause == "firmware-off-reported"
    intel.file("/proc/sys/kernel/osrelease", "5.4.0-100-generic\n")  # before Linux cleared it
    old = claimed(intel.collect())["vmx"]
    assert (old.firmware, old.cause) == (UNKNOWN, "kernel-module-missing")
    intel.file("/proc/sys/kernel/osrelease", "6.1.0\n").file("/proc/cmdline", "ro clearcpuid=vmx\n")
    assert claimed(intel.collect())["vmx"].firmware is UNKNOWN


def test_a_working_kvm_shows_what_the_msr_cannot(intel):
    intel.msrs = None
    found = claimed(intel.collect())
    assert layers(found["vmx"]) == (YES, YES, YES, YES)
    assert layers(found["ept"])[:3] == (YES, YES, YES)
    assert found["vmx"].cause is found["ept"].cause is None


def test_no_flag_on_bare_metal_is_not_in_silicon(intel, hosts):
    intel.leaves = hosts.with_bit(hosts.INTEL, 1, 2, 5, False)
    intel.kvm = hosts.missing_device()
    off(intel, "kvm_intel")
    found = claimed(intel.collect())
    assert found["vmx"].cause == found["ept"].cause == found["kvm"].cause == "not-in-silicon"
    assert found["vmx"].silicon is NO


def test_no_flag_in_a_guest_is_hidden_not_absent(intel, hosts):
    leaves = hosts.with_bit(hosts.with_bit(hosts.INTEL, 1, 2, 5, False), 1, 2, 31, True)
    intel.leaves = {**leaves, (0x4000_0000, 0): (0x4000_0001, 0x4B4D564B, 0x564B4D56, 0x4D)}
    intel.kvm = hosts.missing_device()
    off(intel, "kvm_intel")
    vmx = claimed(intel.collect())["vmx"]
    assert (vmx.silicon, vmx.cause) == (UNKNOWN, "hidden-by-hypervisor")
    assert "(KVM)" in vmx.cause_text


def test_a_module_that_is_not_loaded(intel, hosts):
    intel.kvm = hosts.missing_device()
    off(intel, "kvm_intel")
    found = claimed(intel.collect())
    assert layers(found["vmx"])[:3] == (YES, YES, NO)
    assert found["vmx"].cause == found["kvm"].cause == "kernel-module-missing"
    assert "kvm_intel" in found["vmx"].remedy_text


def test_kvm_amd_does_not_load_without_nx(amd, hosts):
    amd.leaves = hosts.with_bit(amd.leaves, 0x8000_0001, 3, 20, False)
    amd.kvm = hosts.missing_device()
    off(amd, "kvm_amd")
    found = claimed(amd.collect())
    assert found["svm"].cause == found["kvm"].cause == "not-in-silicon"
    assert "NX" in found["svm"].remedy_text
    (amd.root / "proc/sys/kernel/osrelease").write_text("5.10.0-1-amd64\n")
    assert claimed(amd.collect())["svm"].cause == "kernel-module-missing"


def test_a_module_that_is_built_in_and_refused_to_start(amd, hosts):
    amd.kvm = hosts.missing_device()
    (amd.root / "dev/kvm").unlink()
    assert claimed(amd.collect())["svm"].cause == "kvm-device-missing"


@pytest.mark.parametrize(
    ("name", "parameter"), [("ept", "ept"), ("unrestricted_guest", "unrestricted_guest"), ("nested", "nested")]
)
def test_a_module_parameter_that_switches_off(intel, name, parameter):
    intel.file(f"/sys/module/kvm_intel/parameters/{parameter}", "N\n")
    claim = claimed(intel.collect())[name]
    assert layers(claim)[:3] == (YES, YES, NO)
    assert claim.cause == "module-parameter"
    assert f"kvm_intel.{parameter}" in claim.cause_text


def test_a_parameter_that_is_off_because_the_silicon_has_none(intel, hosts):
    """Lynnfield: EPT without unrestricted guest."""
    intel.msrs = {**hosts.INTEL_MSRS, 0x48B: 0x0000_006F_0000_0000}
    intel.file("/sys/module/kvm_intel/parameters/unrestricted_guest", "N\n")
    found = claimed(intel.collect())
    assert found["ept"].cause is None
    assert found["unrestricted_guest"].cause == "not-in-silicon"


@pytest.mark.parametrize(("changes", "advice"), [
    ({"mode": "0660", "group": "kvm", "in_group": False}, "usermod -aG kvm"),
    ({"mode": "0660", "group": "kvm", "in_group": True}, "in the group kvm already"),
    ({"mode": "0600", "group": "root", "in_group": False}, "chgrp kvm"),
])  # fmt: skip
def test_no_permission_names_the_group(intel, changes, advice):
    intel.kvm = KvmUnavailable("kvm-no-permission", "open /dev/kvm", "permission denied", "")
    snapshot = intel.collect()
    snapshot["nodes"]["values"]["/dev/kvm"].update(changes, access="")
    found = claimed(snapshot)
    kvm = found["kvm"]
    assert (kvm.kernel, kvm.functional, kvm.cause, kvm.remedy) == (YES, NO, "kvm-no-permission", "join-group")
    assert f"mode {changes['mode']}, owner root, group {changes['group']}" in kvm.cause_text
    assert advice in kvm.remedy_text
    assert (found["vmx"].functional, found["vmx"].cause) == (UNKNOWN, None)


def test_another_hypervisor_holds_the_extensions(intel, hosts):
    intel.kvm = hosts.FakeKvm(hosts.INTEL, busy=True)
    intel.folder("/sys/module/vboxdrv")
    found = claimed(intel.collect())
    assert found["vmx"].cause == found["kvm"].cause == "other-hypervisor"
    assert "vboxdrv" in found["kvm"].cause_text


def test_a_software_backend_is_no_hardware_virtualization(amd, hosts):
    """Silicon and firmware are in order, yet another module runs the guests."""
    off(amd, "kvm_amd")
    amd.file("/dev/kvm").module("kvm_pvm")
    found = claimed(amd.collect())
    assert layers(found["svm"])[:3] == (YES, YES, NO)
    assert found["svm"].cause == found["npt"].cause == "software-backend"
    assert found["kvm"].cause is None


def test_equal_cpus_are_one_line_of_evidence_for_all(intel):
    intel.cpus = 256
    intel.cpuinfo("vmx ept", "ept")
    snapshot = intel.collect()
    (seen,) = ask(snapshot)["vmx.cpuid"].seen
    assert (seen.value, seen.raw, seen.cpus) == (True, "0x7ffefbff", "0-255")
    assert len(dumps(snapshot)) < 1 << 20


def test_one_odd_cpu_is_found(intel, hosts):
    intel.odd = {2: (hosts.with_bit(hosts.INTEL, 1, 2, 5, False), hosts.INTEL_MSRS)}
    answers = ask(intel.collect())
    assert answers.value("vmx.cpuid") is None
    assert answers.no("uniform.features")
    assert {(one.value, one.cpus) for one in answers["vmx.cpuid"].seen} == {(True, "0-1,3"), (False, "2")}
    vmx = claimed(intel.collect())["vmx"]
    assert (vmx.silicon, vmx.cause) == (NO, "cpus-differ")


def test_firmware_that_forgot_one_cpu_is_found(intel, hosts):
    intel.odd = {3: (hosts.INTEL, {**hosts.INTEL_MSRS, 0x3A: 0x1})}
    vmx = claimed(intel.collect())["vmx"]
    assert (vmx.firmware, vmx.cause) == (NO, "firmware-off-vmx")
    assert "CPUs 3" in vmx.cause_text


def test_firmware_that_hides_no_execute(intel, hosts):
    intel.leaves = hosts.with_bit(hosts.INTEL, 0x8000_0001, 3, 20, False)
    intel.msrs = {**hosts.INTEL_MSRS, 0x1A0: 1 << 34}
    nx = claimed(intel.collect())["nx"]
    assert (nx.silicon, nx.firmware, nx.cause) == (YES, NO, "firmware-off-xd")
    intel.msrs, intel.kvm = None, hosts.FakeKvm(intel.leaves)
    unread = claimed(intel.collect())["nx"]
    assert (unread.silicon, unread.firmware) == (UNKNOWN, UNKNOWN)


def test_iommu_off_in_firmware_off_by_parameter_and_unused_are_told_apart(intel, hosts):
    acpi = hosts.acpi
    (intel.root / "sys/class/iommu/dmar0").rmdir()
    (intel.root / "sys/firmware/acpi/tables/DMAR").unlink()
    intel.file("/sys/firmware/acpi/tables/FACP", hosts.acpi(b"FACP", bytes(8)))
    vt_d = claimed(intel.collect())["vt_d"]
    assert (vt_d.silicon, vt_d.firmware, vt_d.cause) == (UNKNOWN, NO, "iommu-not-announced")
    intel.file("/sys/firmware/acpi/tables/DMAR", acpi(b"DMAR", b"\x2d\x01" + bytes(10)))
    snapshot = intel.collect()
    assert claimed(snapshot)["vt_d"].cause == claimed(snapshot)["iommu"].cause == "kernel-not-using-it"
    assert ask(snapshot).value("dmar.intr_remap") is True
    assert ask(snapshot).value("dmar.width_minus_1") == 0x2D
    intel.file("/proc/cmdline", "root=UUID=0123 intel_iommu=off secret=1\n")
    off_by_parameter = claimed(intel.collect())["vt_d"]
    assert off_by_parameter.cause == "kernel-command-line"
    assert "intel_iommu=off" in off_by_parameter.remedy_text


def test_what_cannot_be_read_is_unknown_never_no(hosts, tmp_path):
    """An empty tree: no claim may be answered by no."""
    machine = hosts.Machine(tmp_path, {}, None)
    snapshot = machine.collect()
    snapshot["cpuid"]["values"] = {}
    snapshot["msr"]["absent"] = {}  # CPUID would have said so
    snapshot["cpuid"]["unread"] = [{"what": "*", "cpus": "", "reason": "Permission denied"}]
    for section in ("files", "nodes", "acpi"):
        snapshot.pop(section)
    for claim in claimed(snapshot).values():
        assert NO not in layers(claim), claim.name


def test_a_working_kvm_shows_the_firmware_where_the_flag_says_nothing(intel):
    """Before Linux 5.6 the flag stayed in place whatever the firmware did."""
    intel.msrs = None
    intel.file("/proc/sys/kernel/osrelease", "5.4.0-100-generic\n")
    assert claimed(intel.collect())["vmx"].firmware is YES


@pytest.mark.parametrize(("release", "flags", "firmware"), [
    ("6.8.0", "", NO),
    ("6.8.0", " svm", YES),
    ("6.1.0", "", UNKNOWN),
    ("6.1.0", " svm", UNKNOWN),  # Linux 6.1 lists svm whatever the firmware did
])  # fmt: skip
def test_what_the_svm_flag_says_depends_on_the_kernel(amd, hosts, release, flags, firmware):
    amd.msrs = None
    amd.kvm = hosts.missing_device()
    off(amd, "kvm_amd")
    amd.cpuinfo(hosts.BOOT_FLAGS + flags).file("/proc/sys/kernel/osrelease", f"{release}\n")
    assert claimed(amd.collect())["svm"].firmware is firmware


def test_a_parameter_that_is_off_says_nothing_about_silicon_that_was_not_read(intel, hosts):
    intel.leaves = {**intel.leaves, (1, 0): (0x000F06F6, *intel.leaves[1, 0][1:])}  # a model that nobody knows
    intel.msrs = None
    intel.cpuinfo(f"{hosts.BOOT_FLAGS} vmx").file("/sys/module/kvm_intel/parameters/unrestricted_guest", "N\n")
    claim = claimed(intel.collect())["unrestricted_guest"]
    assert (claim.silicon, claim.kernel, claim.cause) == (UNKNOWN, NO, "msr-driver-missing")


def test_a_guest_without_an_iommu_is_not_told_to_look_in_its_firmware(intel, hosts):
    intel.leaves = hosts.with_bit(hosts.INTEL, 1, 2, 31, True)
    (intel.root / "sys/class/iommu/dmar0").rmdir()
    (intel.root / "sys/firmware/acpi/tables/DMAR").unlink()
    intel.file("/sys/firmware/acpi/tables/FACP", hosts.acpi(b"FACP", bytes(8)))
    assert claimed(intel.collect())["vt_d"].cause == "hidden-by-hypervisor"


@pytest.mark.parametrize(("line", "cause"), [("nosmep", "kernel-command-line"), ("quiet", "kernel-not-using-it")])
def test_a_feature_that_kvm_does_not_offer(intel, hosts, line, cause):
    intel.kvm = hosts.FakeKvm(hosts.with_bit(hosts.INTEL, 7, 1, 7, False))
    intel.file("/proc/cmdline", f"ro {line}\n")
    smep = claimed(intel.collect())["smep"]
    assert (smep.silicon, smep.kernel, smep.cause) == (YES, NO, cause)


def test_a_log_that_lost_its_beginning_cannot_say_no(intel):
    assert ask(intel.collect()).value("vmx.log_off") is False
    intel.file("/dev/kmsg", "6,900,0,-;x86/cpu: something\n")
    assert ask(intel.collect()).value("vmx.log_off") is None


def test_what_turned_a_parameter_off_is_named(intel):
    intel.file("/sys/module/kvm_intel/parameters/ept", "N\n")
    intel.file("/etc/modprobe.d/kvm.conf", "# ours\noptions  kvm-intel ept=0 nested=1\noptions snd x=1\n")
    snapshot = intel.collect()
    assert snapshot.text("/etc/modprobe.d/kvm.conf") == "options kvm-intel ept=0 nested=1"
    ept = claimed(snapshot)["ept"]
    assert "kvm_intel.ept, by options kvm-intel ept=0 nested=1 (/etc/modprobe.d/kvm.conf)" in ept.cause_text
    assert ept.remedy_text.startswith("Turn kvm_intel.ept on")
    intel.file("/etc/modprobe.d/kvm.conf", "").file("/proc/cmdline", "ro kvm-intel.ept=0\n")
    assert "by kvm-intel.ept=0 on the kernel command line" in claimed(intel.collect())["ept"].cause_text


@pytest.mark.parametrize(("maker", "product", "words"), [
    ("Dell Inc.", "PowerEdge R750", "Dell Inc. calls it ProcVirtualization (Redfish attribute)."),
    ("Dell Inc.", "OptiPlex 7090", "calls it Virtualization (attribute of /sys/class/firmware-attributes)."),
    ("HPE", "ProLiant DL380 Gen10", "ProcVirtualization"),
    ("HP", "ProLiant DL380 G9", "ProcVirtualization"),
    ("HP", "HP EliteBook 850 G8", "Virtualization Technology (VTx)"),
    ("Lenovo", "ThinkSystem SR650", "Processors_IntelVirtualizationTechnology"),
    ("LENOVO", "20J7S0DK00", "VirtualizationTechnology"),
    ("Supermicro", "SYS-120U", "IntelVirtualizationTechnology (Redfish attribute, with a number behind it)"),
    ("Cisco Systems Inc", "UCSC-C220", "biosVfIntelVirtualizationTechnology (UCS Manager token)"),
    ("ASRockRack", "X570D4U", None),  # its name for this setting is not known
    ("Nobody", "Box", None),
])  # fmt: skip
def test_the_remedy_ends_with_the_makers_own_name(intel, hosts, maker, product, words):
    intel.msrs = {**hosts.INTEL_MSRS, 0x3A: 0x1}
    intel.file("/sys/class/dmi/id/sys_vendor", maker).file("/sys/class/dmi/id/product_name", product)
    remedy = claimed(intel.collect())["vmx"].remedy_text
    assert ("calls it" in remedy) is (words is not None)
    assert (words or "") in remedy


@pytest.mark.parametrize(("logged", "who"), [(True, "before this kernel started"), (False, "by whom cannot be told")])
def test_who_locked_the_register_is_said_only_where_it_is_known(intel, hosts, logged, who):
    intel.msrs = {**hosts.INTEL_MSRS, 0x3A: 0x1}
    if logged:
        intel.log("x86/cpu: VMX (outside TXT) disabled by BIOS")
    assert f"({who})" in claimed(intel.collect())["vmx"].cause_text


def test_makers_names_are_those_of_the_registries():
    from virtproof.probes.claims import makers
    from virtproof.spec import firmware_setup, redfish

    shown = {name for names in firmware_setup.SETTINGS.values() for name in names}
    for maker, _, kind, names in makers.SETTINGS:
        known = {makers.REDFISH: redfish.ATTRIBUTES, makers.NUMBERED: redfish.ATTRIBUTES, makers.CLASS: shown}.get(kind)
        assert known is None or known >= set(names.values()), maker
