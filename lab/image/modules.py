"""The kernel modules of the image: drivers of what servers have, unmodified and therefore with their signatures."""

from __future__ import annotations

import fnmatch
import lzma
import re
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from virtproof.lab.initramfs import Archive
from virtproof.lab.initramfs_linux import Kernel
from virtproof.lab.missing import Missing
from virtproof.spec.fault import Fault

KVM = ("kvm_intel", "kvm_amd")
# By name: asked for by virtproof, by file systems, and by names that no device has.
NAMED = (
    "msr", "cpuid", "ext4", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "crc32c_generic",
    "crc32c_intel", "crc32_pclmul", "efivarfs", "usbhid", "hid_generic", "atkbd", "i8042", "vfio_pci", "sd_mod",
    "sr_mod", "af_packet", "tpm_tis", "tpm_crb", "tun", "vhost_net", "vfio_iommu_type1",
)  # fmt: skip
FOLDERS = (
    "drivers/net/ethernet", "drivers/net/phy", "drivers/net/mdio", "drivers/net/pcs", "drivers/net/usb",
    "drivers/net/hyperv", "drivers/net/vmxnet3", "drivers/ata", "drivers/block", "drivers/message", "drivers/nvme",
    "drivers/scsi", "drivers/usb/host", "drivers/usb/storage", "drivers/virtio", "drivers/hv", "drivers/xen",
)  # fmt: skip
FILES = ("drivers/net/*.ko*", "drivers/mmc/core/*.ko*", "drivers/mmc/host/sdhci*.ko*")  # not the folders below
LEFT_OUT = ("scsi_debug", "null_blk", "dummy", "brd", "zram", "rbd", "nbd", "drbd", "netdevsim", "nvme_loop", "ifb")

_NEEDS = re.compile(rb"\0depends=([^\0]*)(?=\0)")
_ALIAS = re.compile(rb"\0alias=([^\0]*)(?=\0)")


def add(archive: Archive, kernel: Kernel) -> None:
    """Add the modules, and the tables by which modprobe finds them.  Raises ``Fault`` where KVM is not among them."""
    built_in = _built_in(kernel)
    here = {path: _name(path) for path in sorted(kernel.modules.rglob("*.ko*"))}
    files = {name: path for path, name in here.items()}
    for name in KVM:
        if name not in files and name not in built_in:
            kernel.module(name)  # raises
    content: dict[str, bytes] = {}
    needs: dict[str, list[str]] = {}
    todo = [*(name for name in (*KVM, *NAMED) if name in files), *_of_folders(kernel, files)]
    while todo:
        name = todo.pop()
        if name in content or name in built_in:
            continue
        if name not in files:
            raise Fault(f"take the module {name} from the kernel {kernel.release}", "there is none", "use its package")
        content[name] = read(files[name])
        found = _NEEDS.search(content[name])
        needs[name] = [_plain(one) for one in found[1].decode().split(",") if one] if found else []
        todo += needs[name]
    base = f"lib/modules/{kernel.release}"
    places = {name: _place(files[name].relative_to(kernel.modules)) for name in content}
    for name in sorted(content, key=places.__getitem__):
        archive.file(f"{base}/{places[name]}", content[name])
    dependencies = "".join(
        f"{places[name]}: {' '.join(places[one] for one in _before(name, needs) if one in places)}".rstrip() + "\n"
        for name in sorted(content, key=places.__getitem__)
    )
    aliases = "".join(
        f"alias {alias} {name}\n"
        for name in sorted(content)
        for alias in sorted(one.decode("utf-8", "replace") for one in set(_ALIAS.findall(content[name])))
    )
    if (configuration := kernel.root / f"boot/config-{kernel.release}").exists():
        archive.file(f"boot/config-{kernel.release}", configuration.read_bytes())  # where virtproof looks for it
    archive.file(f"{base}/modules.dep", dependencies.encode())
    archive.file(f"{base}/modules.alias", aliases.encode())


def read(path: Path) -> bytes:
    """A module as the kernel takes it: distributions compress them, and not every modprobe can undo that."""
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".xz":
                return lzma.decompress(data)
            case ".gz":
                return zlib.decompress(data, wbits=31)
            case ".zst":
                return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    except FileNotFoundError as err:
        raise Missing(f"decompress {path}", "there is no zstd on this machine", "apt-get install zstd") from err
    except (lzma.LZMAError, zlib.error, subprocess.CalledProcessError) as err:
        raise Fault(f"decompress {path}", str(err), "take the kernel's package anew") from err
    return data


def _of_folders(kernel: Kernel, files: dict[str, Path]) -> Iterator[str]:
    for name, path in sorted(files.items()):
        place = str(path.relative_to(kernel.modules)).removeprefix("kernel/")
        folder = place.rpartition("/")[0]
        below = any(f"{folder}/".startswith(f"{one}/") for one in FOLDERS)
        beside = any(fnmatch.fnmatchcase(place, one) and folder == one.rpartition("/")[0] for one in FILES)
        if (below or beside) and name not in LEFT_OUT:
            yield name


def _before(name: str, needs: dict[str, list[str]]) -> Iterable[str]:
    """What must be there before ``name``, nearest first, as modules.dep lists it."""
    order: dict[str, None] = {}
    for one in needs.get(name, ()):
        for word in (one, *_before(one, needs)):
            order.pop(word, None)
            order[word] = None
    return order


def _built_in(kernel: Kernel) -> frozenset[str]:
    table = kernel.modules / "modules.builtin"
    lines = table.read_text(encoding="ascii", errors="replace").split() if table.exists() else []
    return frozenset(_name(Path(line)) for line in lines)


def _place(path: Path) -> str:
    """The path of a module that is not compressed."""
    return f"{path.parent}/{path.name.partition('.ko')[0]}.ko"


def _name(path: Path) -> str:
    return _plain(path.name.partition(".")[0])


def _plain(name: str) -> str:
    return name.replace("-", "_")  # the kernel takes them for the same
