"""How files, devices and firmware of a host are read: made-up trees, and nothing of them is changed."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.probes.firmware import samples
from virtproof.probes.collect import collect
from virtproof.probes.plan import readings
from virtproof.probes.snapshot import checked, dumps
from virtproof.probes.sources import efi, files, kconfig, log, netlink, network, pci, percpu, smbios


def write(root: Path, path: str, content: str | bytes) -> Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)
    return target


def test_smbios_says_why_not(tmp_path: Path):
    assert smbios.read(str(tmp_path))["unread"][0]["reason"].endswith("No such file or directory")
    write(tmp_path, smbios.ENTRY_POINT, samples.entry_3())
    write(tmp_path, smbios.TABLE, samples.SMBIOS)
    found = smbios.read(str(tmp_path))
    assert (found["version"], len(found["structures"]), found["unread"]) == ("3.4", 11, [])


def test_efi_variables(tmp_path: Path):
    assert "No such file" in efi.read(str(tmp_path))["unread"][0]["reason"]
    (tmp_path / "sys/firmware/efi/efivars").mkdir(parents=True)
    assert efi.read(str(tmp_path))["unread"][0]["reason"] == "efivarfs is not mounted"
    write(tmp_path, f"{efi.FOLDER}/SecureBoot-{efi.GLOBAL}", b"\x06\0\0\0\x01")
    found = efi.read(str(tmp_path))
    assert (found["values"], found["absent"], found["unread"]) == ({"SecureBoot": "0600000001"}, ["SetupMode"], [])


CONFIG = 'CONFIG_KVM=m\n# CONFIG_KVM_AMD is not set\nCONFIG_SECRET_PATH="/home/x"\nCONFIG_X86_MSR=y\n'


@pytest.mark.parametrize("place", kconfig.INSTALLED)
def test_the_configuration_is_found_where_distributions_put_it(tmp_path: Path, place):
    write(tmp_path, kconfig.RELEASE, "6.1.0-21-amd64\n")
    write(tmp_path, place.format(release="6.1.0-21-amd64"), CONFIG)
    found = kconfig.read(str(tmp_path))
    assert found["values"] == {"KVM": "m", "KVM_AMD": "n", "X86_MSR": "y"}
    assert found["path"] == place.format(release="6.1.0-21-amd64")


def test_the_configuration_in_the_kernel_is_unpacked_within_bounds(tmp_path: Path):
    write(tmp_path, kconfig.PROC, gzip.compress(CONFIG.encode() + b"#" * (4 * kconfig.LIMIT) + b"\nCONFIG_TUN=y\n"))
    assert kconfig.read(str(tmp_path))["values"] == {"KVM": "m", "KVM_AMD": "n", "X86_MSR": "y"}
    write(tmp_path, kconfig.PROC, b"no gzip")
    assert kconfig.PROC in kconfig.read(str(tmp_path))["unread"][0]["reason"]


@pytest.mark.parametrize("release", ["../../etc/passwd", "..", "6.1/../x", "", "a" * 300])
def test_a_release_that_is_none_becomes_no_path(tmp_path: Path, release):
    write(tmp_path, kconfig.RELEASE, release)
    assert kconfig.places(str(tmp_path)) == (kconfig.PROC,)


def test_what_equal_cpus_say_is_stored_once(tmp_path: Path):
    for cpu in range(4):
        folder = f"/sys/devices/system/cpu/cpu{cpu}"
        write(tmp_path, f"{folder}/topology/thread_siblings_list", f"{cpu % 2},{cpu % 2 + 2}\n")
        write(tmp_path, f"{folder}/topology/physical_package_id", "0\n")
    found = percpu.read(str(tmp_path), (0, 1, 2, 3))
    assert found["values"]["topology/thread_siblings_list"] == {"0,2": "0,2", "1,3": "1,3"}
    assert found["values"]["topology/physical_package_id"] == {"0": "0-3"}
    assert {(one["what"], one["cpus"]) for one in found["unread"]} == {
        ("cpufreq/scaling_driver", "0-3"), ("cpufreq/scaling_governor", "0-3"),
    }  # fmt: skip


def config_space(capabilities: dict[int, bytes], extended: dict[int, bytes]) -> bytes:
    """4 KiB: capabilities at 40h, extended ones at 100h, each linked to the next."""
    space = bytearray(4096)
    space[6:8] = struct.pack("<H", 0x10)
    offset, link = 0x40, 0x34
    for kind, body in capabilities.items():
        space[link] = offset
        space[offset : offset + 2 + len(body)] = bytes((kind, 0)) + body
        link, offset = offset + 1, offset + 0x20
    offset, last = 0x100, 0
    for kind, body in extended.items():
        if last:
            (head,) = struct.unpack_from("<I", space, last)
            struct.pack_into("<I", space, last, head | offset << 20)
        struct.pack_into("<I", space, offset, kind | 1 << 16)
        space[offset + 4 : offset + 4 + len(body)] = body
        last, offset = offset, offset + 0x40
    return bytes(space)


ROOT_PORT = config_space({1: b"\0\0", 0x10: struct.pack("<H", 4 << 4 | 2)}, {0x0D: struct.pack("<HH", 0x1F, 0x1D)})
CARD = config_space({0x10: struct.pack("<H", 2)}, {0x0F: b"", 0x10: b"", 0x13: b"", 0x15: b"", 0x1B: b""})


def device(root: Path, address: str, space: bytes, *, code: str = "0x020000", **attributes: str) -> None:
    folder = f"/sys/bus/pci/devices/{address}"
    write(root, f"{folder}/config", space)
    for name, value in {"class": code, "vendor": "0x8086", "device": "0x1572", **attributes}.items():
        write(root, f"{folder}/{name}", value + "\n")


def link(root: Path, path: str, target: str) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def machine_with_cards(root: Path) -> None:
    device(root, "0000:00:01.0", ROOT_PORT, code="0x060400", numa_node="0")
    device(root, "0000:3b:00.0", CARD, numa_node="1", sriov_totalvfs="64", sriov_numvfs="1", reset_method="flr bus")
    device(root, "0000:3b:02.0", CARD, numa_node="1")
    link(root, "/sys/bus/pci/devices/0000:3b:02.0/physfn", "../0000:3b:00.0")
    for address in ("0000:3b:00.0", "0000:3b:02.0"):
        link(root, f"/sys/bus/pci/devices/{address}/iommu_group", f"../../kernel/iommu_groups/{address[-4]}")
    link(root, "/sys/bus/pci/devices/0000:3b:00.0/driver", "../../bus/pci/drivers/i40e")


def test_pci_functions(tmp_path: Path):
    machine_with_cards(tmp_path)
    found = pci.read(str(tmp_path))
    assert found["unread"] == []
    port, card, virtual = found["devices"].values()
    assert (port["port_type"], port["extended"], port["acs"], port["numa_node"]) == (4, [0x0D], [0x1F, 0x1D], 0)
    assert (card["sriov_totalvfs"], card["sriov_numvfs"], card["reset"], card["driver"]) == (64, 1, "flr bus", "i40e")
    assert (card["extended"], card["port_type"], card["group"]) == ([0x0F, 0x10, 0x13, 0x15, 0x1B], 0, "0")
    assert virtual["physfn"] == "0000:3b:00.0"
    assert "extended" not in virtual


def test_a_sleeping_device_is_not_woken(tmp_path: Path):
    device(tmp_path, "0000:3b:00.0", CARD, **{"power/runtime_status": "suspended"})
    found = pci.read(str(tmp_path))
    assert "extended" not in found["devices"]["0000:3b:00.0"]
    assert "not woken" in found["unread"][0]["reason"]


def test_who_is_not_root_sees_64_bytes(tmp_path: Path):
    device(tmp_path, "0000:3b:00.0", CARD[:64])
    found = pci.read(str(tmp_path))
    assert found["unread"][0]["what"] == "capabilities"
    assert "root only" in found["unread"][0]["reason"]


def test_lists_of_capabilities_that_never_end_do(tmp_path: Path):
    loop = bytearray(config_space({0x10: b"\x02\0"}, {0x0D: bytes(4)}))
    loop[0x41] = 0x40
    struct.pack_into("<I", loop, 0x100, 0x0D | 1 << 16 | 0x100 << 20)
    device(tmp_path, "0000:00:00.0", bytes(loop))
    device(tmp_path, "0000:00:01.0", b"\xff" * 4096)
    device(tmp_path, "0000:00:02.0", bytes(loop[:256]))
    found = pci.read(str(tmp_path))
    assert found["devices"]["0000:00:00.0"]["extended"] == [0x0D]
    assert found["devices"]["0000:00:02.0"]["extended"] == []
    checked({**dict(collect(str(tmp_path)))})


def test_network_interfaces_without_their_addresses(tmp_path: Path):
    for name, file, text in (
        ("br0", "bridge/forward_delay", "0"), ("tap3", "tun_flags", "0x1002"), ("tun0", "tun_flags", "0x1001"),
        ("eth0", "address", "52:54:00:12:34:56"),
    ):  # fmt: skip
        write(tmp_path, f"/sys/class/net/{name}/{file}", text + "\n")
    write(tmp_path, "/sys/class/net/bonding_masters", "")
    link(tmp_path, "/sys/class/net/eth0/device", "../../../0000:3b:00.0")
    found = network.read(str(tmp_path))
    assert found["links"] == {
        "br0": {"kind": "bridge"}, "eth0": {"device": "0000:3b:00.0"}, "tap3": {"kind": "tap"}, "tun0": {"kind": "tun"},
    }  # fmt: skip
    assert {one["what"] for one in found["unread"]} == {"vfs", "eswitch"}
    named = network.read(str(tmp_path), identity=True)
    assert named["links"]["eth0"]["address"] == "52:54:00:12:34:56"


class Message(dict):
    """What pyroute2 gives for a netlink message: attributes by name."""

    def get_attr(self, name):
        return self.get(name)

    def get_attrs(self, name):
        return self.get(name, [])


def test_virtual_functions_are_counted_without_their_addresses():
    infos = [
        Message(
            IFLA_VF_MAC={"mac": "52:54:00:00:00:01"}, IFLA_VF_TRUST={"setting": 1}, IFLA_VF_SPOOFCHK={"setting": 1}
        ),
        Message(IFLA_VF_TRUST={"setting": 0}, IFLA_VF_SPOOFCHK={"setting": 1}),
        Message(IFLA_VF_TRUST={"setting": 2**32 - 1}),
    ]
    links = [
        Message(IFLA_IFNAME="lo"),
        Message(IFLA_IFNAME="eth0", IFLA_NUM_VF=3, IFLA_VFINFO_LIST=Message(IFLA_VF_INFO=infos)),
        Message(IFLA_IFNAME="eth1", IFLA_NUM_VF=0),
    ]
    assert netlink.counted(links) == {
        "eth0": {"vfs": 3, "trusted": 1, "spoof_checked": 2},
        "eth1": {"vfs": 0, "trusted": 0, "spoof_checked": 0},
    }


def test_netlink_of_this_machine_answers_or_says_why_not():
    found = network.read("/", netlink=(netlink.vfs, netlink.eswitch))
    for part in ("vfs", "eswitch"):
        assert part in found or any(one["what"] == part and "netlink" in one["reason"] for one in found["unread"])


def test_a_part_that_netlink_refuses_is_unread(tmp_path: Path):
    (tmp_path / "sys/class/net").mkdir(parents=True)

    def refuse():
        raise ConnectionError("no")

    found = network.read(str(tmp_path), netlink=(dict, refuse))
    assert found["vfs"] == {}
    assert [(one["what"], one["reason"]) for one in found["unread"]] == [("eswitch", "netlink: ConnectionError: no")]


def test_of_large_files_the_lines_that_matter_are_kept(tmp_path: Path):
    write(tmp_path, "/proc/meminfo", "MemTotal:  100 kB\nMemFree: 5 kB\nSwapTotal: 0 kB\n")
    root, child, leaf = (
        "f0000000-f1ffffff : PCI Bus 0000:00",
        "  f0000000-f0ffffff : PCI Bus 0000:01",
        "    f0000000-f0000fff : x",
    )
    write(tmp_path, "/proc/iomem", "\n".join(("00001000-0009ffff : System RAM", root, child, leaf, "")))
    values = files.read(str(tmp_path))["values"]
    assert values["/proc/meminfo"] == "MemTotal:  100 kB\nSwapTotal: 0 kB"
    assert values["/proc/iomem"] == f"00001000-0009ffff : System RAM\n{root}"


def test_the_log_keeps_only_what_the_kernel_said_and_names_nobody(tmp_path: Path):
    lines = ["6,0,0,-;Linux version", "12,1,1,-;program: kvm: disabled by bios", "6,2,2,-;DMAR: 52:54:00:12:34:56 here",
             *(f"6,{n},{n},-;kvm [{n}]: vcpu{n}, guest rIP: 0x{n:x}a ignored wrmsr" for n in range(3, 50))]  # fmt: skip
    write(tmp_path, "/dev/kmsg", "\n".join(lines) + "\n")
    found = log.read(str(tmp_path))
    assert found["lines"][0] == "DMAR: (removed) here"
    assert len(found["lines"]) == 1 + log.MAX_ALIKE
    assert not any("program" in line for line in found["lines"])


WATCH = """
import os, sys
seen = set()
def hook(event, args):
    if event in ("open", "os.listdir", "os.scandir") and args and isinstance(args[0], str):
        seen.add(("/" if event != "open" else "") + " " + args[0])
from virtproof.probes.collect import collect
import virtproof.kvm, glob, datetime, cpuid_native
from virtproof.probes.sources import netlink
collect()
sys.addaudithook(hook)
collect(identity=True)
print("\\n".join(sorted(seen)))
"""


def test_the_dry_run_lists_everything_that_is_opened():
    """What Python itself says it opens while this machine is collected, against the plan."""
    result = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=True)
    plan = [path for one in readings(identity=True) for path in one.paths]
    release = os.uname().release
    plain = [path.replace("<release>", release) for path in plan]
    opened = 0
    for line in result.stdout.splitlines():
        listed, _, path = line.partition(" ")
        if not path.startswith(("/proc", "/sys", "/dev", "/boot", "/lib/mod", "/usr/lib/mod", "/etc/mod", "/run/mod")):
            continue
        opened += 1
        if listed:  # a folder is listed for its own sake, or to find what a pattern means
            steps = path.rstrip("/").count("/")
            heads = ("/".join(pattern.split("/")[: steps + 1]) for pattern in plain)
            assert any(fnmatch(path.rstrip("/"), head) for head in heads), f"{path} was listed"
        else:
            assert any(fnmatch(path, pattern) for pattern in plain), f"{path} was opened"
    assert opened > 50


def test_nothing_that_names_this_machine_is_in_its_snapshot():
    text = dumps(collect())
    addresses = [Path(path).read_text().strip() for path in Path("/sys/class/net").glob("*/address")]
    assert not [one for one in addresses if one not in {"", "00:00:00:00:00:00"} and one in text]
    assert "/proc/sys/kernel/hostname" not in text
    named = dumps(collect(identity=True))
    assert "/proc/sys/kernel/hostname" in named
    assert all(one in named for one in addresses)
