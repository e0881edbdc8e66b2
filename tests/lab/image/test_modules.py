"""The modules of the image, from kernels made up of a few."""

from __future__ import annotations

import gzip
import lzma
import re
from pathlib import Path

import pytest

from tests.lab.test_initramfs import read
from virtproof.lab.image import modules
from virtproof.lab.initramfs import Archive
from virtproof.lab.initramfs_linux import Kernel
from virtproof.spec.fault import Fault

RELEASE = "6.1.0-1-amd64"
BASE = f"lib/modules/{RELEASE}"
KVM = {
    "arch/x86/kvm/kvm": "",
    "arch/x86/kvm/kvm-intel": "kvm",
    "arch/x86/kvm/kvm-amd": "kvm,ccp",
    "drivers/crypto/ccp/ccp": "",
}


def content(depends: str, *aliases: str) -> bytes:
    """The strings of a .modinfo section between others, and a signature."""
    fields = [f"alias={alias}" for alias in aliases] + [f"depends={depends}", "name=x"]
    return b"\x7fELF\0" + b"".join(field.encode() + b"\0" for field in fields) + b"sig~Module signature appended~\n"


def kernel(root: Path, files: dict[str, bytes], built_in: str = "") -> Kernel:
    folder = root / BASE / "kernel"
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder.parent / "modules.builtin").write_text(built_in)
    return Kernel(RELEASE, root)


def plain(needs: dict[str, str]) -> dict[str, bytes]:
    return {f"{name}.ko": content(depends) for name, depends in needs.items()}


def entries(made: Kernel) -> dict[str, bytes]:
    archive = Archive()
    modules.add(archive, made)
    return {name.removeprefix(f"{BASE}/"): entry.data for name, entry in read(archive.data()).items()}


def test_drivers_come_with_what_they_need_byte_for_byte(tmp_path):
    nic = content("mdio,crc32c-generic", "pci:v00008086d0000100Esv*sd*bc*sc*i*")
    files = {
        **plain(KVM),
        "drivers/net/ethernet/intel/e1000.ko": nic,
        "lib/mdio.ko": content(""),
        "crypto/crc32c_generic.ko": content("", "crypto-crc32c"),
        "sound/loud.ko": content(""),
        "drivers/net/wireless/air.ko": content(""),
        "drivers/scsi/scsi_debug.ko": content(""),
    }
    found = entries(kernel(tmp_path, files))

    assert found["kernel/drivers/net/ethernet/intel/e1000.ko"] == nic
    assert {name for name in found if name.endswith(".ko")} == {f"kernel/{name}" for name in files} - {
        "kernel/sound/loud.ko",
        "kernel/drivers/net/wireless/air.ko",
        "kernel/drivers/scsi/scsi_debug.ko",
    }
    table = found["modules.dep"].decode().splitlines()
    assert "kernel/drivers/net/ethernet/intel/e1000.ko: kernel/lib/mdio.ko kernel/crypto/crc32c_generic.ko" in table
    assert "kernel/arch/x86/kvm/kvm.ko:" in table
    assert found["modules.alias"].decode().splitlines() == [
        "alias crypto-crc32c crc32c_generic",
        "alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000",
    ]


def test_what_is_needed_by_what_is_needed_comes_later_in_the_line(tmp_path):
    files = plain({**KVM, "drivers/ata/a": "b,c", "lib/b": "c", "lib/c": ""})
    table = entries(kernel(tmp_path, files))["modules.dep"].decode()
    assert "kernel/drivers/ata/a.ko: kernel/lib/b.ko kernel/lib/c.ko\n" in table


def test_what_two_need_comes_after_both(tmp_path):
    files = plain({**KVM, "drivers/ata/a": "c,b", "lib/b": "c", "lib/c": ""})
    table = entries(kernel(tmp_path, files))["modules.dep"].decode()
    assert "kernel/drivers/ata/a.ko: kernel/lib/b.ko kernel/lib/c.ko\n" in table


def test_drivers_beside_and_not_below_a_folder(tmp_path):
    files = plain({**KVM, "drivers/net/tap_like": "", "drivers/net/can/can_like": ""})
    found = entries(kernel(tmp_path, files))
    assert "kernel/drivers/net/tap_like.ko" in found
    assert "kernel/drivers/net/can/can_like.ko" not in found


@pytest.mark.parametrize(("suffix", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_compressed_modules_are_what_they_were_with_their_signature(tmp_path, suffix, pack):
    files = {f"{name}.ko{suffix}": pack(content(depends)) for name, depends in KVM.items()}
    found = entries(kernel(tmp_path, files))
    assert found["kernel/arch/x86/kvm/kvm-amd.ko"] == content("kvm,ccp")
    assert "kernel/arch/x86/kvm/kvm-amd.ko: kernel/arch/x86/kvm/kvm.ko kernel/drivers/crypto/ccp/ccp.ko" in str(
        found["modules.dep"], "ascii"
    )


def test_a_damaged_module_is_named(tmp_path):
    files = {**plain(KVM), "drivers/ata/ahci.ko.xz": b"no xz"}
    with pytest.raises(Fault, match=r"decompress .*ahci\.ko\.xz"):
        entries(kernel(tmp_path, files))


@pytest.mark.parametrize("name", ["kvm-intel", "kvm-amd"])
def test_a_kernel_without_kvm_is_refused(tmp_path, name):
    needs = {path: depends for path, depends in KVM.items() if not path.endswith(name)}
    with pytest.raises(Fault, match=f"take the module {name.replace('-', '_')} from the kernel {re.escape(RELEASE)}"):
        entries(kernel(tmp_path, plain(needs)))


def test_a_kernel_with_kvm_built_in_is_not(tmp_path):
    built_in = "kernel/arch/x86/kvm/kvm.ko\nkernel/arch/x86/kvm/kvm-intel.ko\nkernel/arch/x86/kvm/kvm-amd.ko\n"
    assert entries(kernel(tmp_path, {}, built_in))["modules.dep"] == b""


def test_needing_what_is_built_in_is_no_need(tmp_path):
    files = plain({**KVM, "drivers/ata/ahci": "libata"})
    table = entries(kernel(tmp_path, files, "kernel/drivers/ata/libata.ko\n"))["modules.dep"].decode()
    assert "kernel/drivers/ata/ahci.ko:\n" in table


def test_needing_what_is_nowhere_is_told(tmp_path):
    with pytest.raises(Fault, match="take the module gone from"):
        entries(kernel(tmp_path, plain({**KVM, "drivers/ata/ahci": "gone"})))


def test_the_kernels_configuration_is_where_it_is_looked_for(tmp_path):
    made = kernel(tmp_path, plain(KVM))
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/config-{RELEASE}").write_bytes(b"CONFIG_KVM=m\n")
    assert entries(made)[f"boot/config-{RELEASE}"] == b"CONFIG_KVM=m\n"
