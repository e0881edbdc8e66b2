"""The Linux part of an initramfs: busybox, kernel modules, and programs of packages with the libraries they need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from virtproof.lab import debian
from virtproof.lab.initramfs import Archive
from virtproof.spec.fault import Fault

FOLDERS = ("dev", "proc", "sys", "run", "root", "var", "etc")
APPLETS = (
    "awk", "cat", "cut", "dirname", "dmesg", "egrep", "find", "grep", "head", "id", "ip", "ls", "lsmod", "mkdir",
    "modprobe", "mount", "poweroff", "ps", "reboot", "rmmod", "sed", "sh", "sleep", "tail", "tr", "uname", "wc",
)  # fmt: skip
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of the distribution: ``release`` is what uname -r says, ``root`` the unpacked package."""

    release: str
    root: Path

    @property
    def image(self) -> Path:
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """The folder of its modules; Debian moved it from /lib to /usr/lib."""
        places = [self.root / place / "modules" / self.release for place in ("lib", "usr/lib")]
        return next((place for place in places if place.is_dir()), places[0])

    def module(self, name: str) -> Path:
        """The file of a module.  Raises ``Fault`` where the kernel does not have it."""
        found = _modules(self.modules).get(name.replace("-", "_"))
        if found:
            return found
        raise Fault(
            f"take the module {name} from the kernel {self.release}",
            "it does not have such a module",
            "use another kernel: the cloud kernel of Debian has no AMD IOMMU, others may lack KVM",
        )


@cache
def _modules(folder: Path) -> dict[str, Path]:
    """The files of all modules by name; the kernel takes - and _ for the same."""
    return {path.name.partition(".")[0].replace("-", "_"): path for path in folder.rglob("*.ko*")}


def kernel(flavour: str) -> Kernel:
    """The distribution's newest kernel of a flavour (``amd64``, ``cloud-amd64``).  Raises ``Fault``."""
    package = debian.newest_kernel(flavour)
    return Kernel(package.removeprefix("linux-image-"), debian.unpacked(package))


def add_base(archive: Archive) -> None:
    """Add the empty folders, the first devices, root's account, and busybox under the names of ``APPLETS``."""
    archive.folder("tmp", 0o1777)
    for folder in FOLDERS:
        archive.folder(folder)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3, 0o666)
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    busybox = debian.unpacked("busybox-static")
    program = next(path for path in (busybox / "bin/busybox", busybox / "usr/bin/busybox") if path.exists())
    archive.file("bin/busybox", program.read_bytes(), 0o755)
    for applet in APPLETS:
        archive.link(f"bin/{applet}", "busybox")


def add_modules(archive: Archive, kernel: Kernel, names: Sequence[str]) -> None:
    """Add modules and those they depend on, unmodified, with the table that modprobe reads.  Raises ``Fault``."""
    needs: dict[Path, list[str]] = {}
    todo = list(names)
    while todo:
        path = kernel.module(todo.pop(0))
        if path not in needs:
            found = _DEPENDS.search(path.read_bytes())
            needs[path] = [name for name in found[1].decode().split(",") if name] if found else []
            todo += needs[path]
    base = f"lib/modules/{kernel.release}"
    table = []
    for path, direct in needs.items():
        name = str(path.relative_to(kernel.modules))
        archive.file(f"{base}/{name}", path.read_bytes())
        table.append(f"{name}: {' '.join(_closure(kernel, needs, direct))}".rstrip() + "\n")
    archive.file(f"{base}/modules.dep", "".join(table).encode())


def _closure(kernel: Kernel, needs: dict[Path, list[str]], direct: list[str]) -> list[str]:
    """What must be there first, nearest first, as modules.dep lists it."""
    names: list[str] = []
    for name in direct:
        path = kernel.module(name)
        for word in (str(path.relative_to(kernel.modules)), *_closure(kernel, needs, needs[path])):
            if word in names:
                names.remove(word)
            names.append(word)
    return names
