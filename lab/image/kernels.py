"""The kernel of the image: a package of the distribution, a package file, or one that is unpacked or installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from virtproof.lab import cache, debian
from virtproof.lab.initramfs_linux import Kernel
from virtproof.lab.missing import Missing
from virtproof.spec.fault import Fault

DEFAULT = "linux-image-amd64"
KIND = "kernels"  # of cache entries
_NAME = "vmlinuz-"


def find(what: str = DEFAULT) -> Kernel:
    """The kernel that ``what`` names: a package, a .deb file, ``.../boot/vmlinuz-RELEASE``, or the folder above.

    Raises ``Fault``.
    """
    path = Path(what)
    if "/" not in what and not path.exists():
        package = debian.newest_kernel(what.removeprefix("linux-image-")) if _is_meta(what) else what
        return _in(debian.unpacked(package), what)
    if path.is_file() and path.name.startswith(_NAME):
        return _checked(Kernel(path.name.removeprefix(_NAME), path.resolve().parents[1]), what)
    if path.is_file():
        return _in(_unpacked(path), what)
    return _in(path, what)


def _is_meta(package: str) -> bool:
    """Whether a package's name has no version: it depends on the newest one."""
    return package.startswith("linux-image-") and not package.removeprefix("linux-image-")[:1].isdigit()


def _in(root: Path, what: str) -> Kernel:
    found = sorted(root.glob(f"boot/{_NAME}*"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or f"no boot/{_NAME}*"
        remedy = "name one of them" if found else "name a package with a kernel: linux-image-amd64"
        raise Fault(f"find a kernel in {what}", f"there is {names}", remedy)
    return _checked(Kernel(found[0].name.removeprefix(_NAME), root), what)


def _checked(kernel: Kernel, what: str) -> Kernel:
    if not kernel.modules.is_dir():
        raise Fault(
            f"find the modules of the kernel {what}",
            f"there is no folder {kernel.modules}",
            "name the package: a kernel without its modules drives no disk and no network",
        )
    return kernel


def _unpacked(file: Path) -> Path:
    status = file.stat()

    def unpack(target: Path) -> None:
        try:
            subprocess.run(["dpkg-deb", "-x", str(file), str(target)], capture_output=True, text=True, check=True)
        except FileNotFoundError as err:
            raise Missing(f"unpack {file}", "there is no dpkg-deb on this machine", "unpack it elsewhere") from err
        except subprocess.CalledProcessError as err:
            raise Fault(f"unpack {file}", err.stderr.strip()[-300:], "name a Debian package with a kernel") from err

    return cache.entry(KIND, f"{file.name}-{status.st_size}-{status.st_mtime_ns}", unpack, keep=2)
