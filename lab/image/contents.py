"""The initrd of the image: archives that follow each other, each compressed, cached by what it is made from."""

from __future__ import annotations

import hashlib
import inspect
import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from virtproof.lab import cache, debian, initramfs, initramfs_linux
from virtproof.lab.hosts import contents as lab
from virtproof.lab.image import modules
from virtproof.lab.initramfs import Archive
from virtproof.lab.initramfs_linux import Kernel
from virtproof.lab.missing import Missing
from virtproof.spec.fault import Fault

KIND = "image"  # of cache entries
KEEP = 12
ALIGNMENT = 4  # of what follows a compressed archive, in bytes
# A level above 19 would need more window than Linux decompresses with; a second thread does not change a byte.
ZSTD = ("zstd", "-q", "-12", "-T2", "--check", "-c")
APPLETS = ("findfs", "udhcpc", "umount", "sync", "setsid", "mkdir", "date", "ping", "dd", "hexdump", "vi")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # what HTTPS servers are trusted by: as the builder does


def write_initrd(kernel: Kernel, target: Path) -> None:
    """Write the whole initrd; its parts are built where the cache does not have them.  Raises ``Fault``."""
    kernel_digest = hashlib.sha256(kernel.image.read_bytes()).hexdigest()
    base = (debian.unpacked("busybox-static").name, _certificates(), _beside("init"), _beside("udhcpc"))
    parts = [
        *(_compressed(path.stem, path.name, path.read_bytes) for path in lab.python()),
        _built("modules", (kernel_digest, str(kernel.root)), lambda archive: modules.add(archive, kernel)),
        _built("base", base, _add_base),
    ]
    try:
        with target.open("wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())
    except OSError as err:
        raise cache.no_room(err, target.parent) from err


def _add_base(archive: Archive) -> None:
    initramfs_linux.add_base(archive)
    for applet in APPLETS:
        if applet not in initramfs_linux.APPLETS:
            archive.link(f"bin/{applet}", "busybox")
    archive.link("sbin/modprobe", "../bin/busybox")  # where the kernel looks for it
    for folder in ("mnt", "out"):
        archive.folder(folder)
    archive.file("init", _beside("init"), 0o755)
    archive.file("etc/udhcpc", _beside("udhcpc"), 0o755)
    if certificates := _certificates():
        archive.file(ssl.get_default_verify_paths().openssl_cafile.lstrip("/"), certificates)


def _built(name: str, made_from: Sequence[object], add: Callable[[Archive], None]) -> Path:
    """An archive, compressed.  Its key is what it was made from, and who made it."""
    makers = (initramfs, initramfs_linux, modules, sys.modules[__name__])
    recipe = [inspect.getsource(maker) for maker in makers]

    def data() -> bytes:
        archive = Archive()
        add(archive)
        return archive.data()

    return _compressed(name, repr((made_from, recipe)), data)


def _compressed(name: str, made_from: str, data: Callable[[], bytes]) -> Path:
    """What ``data`` returns, compressed: a file in the cache, padded so that another may follow."""
    key = hashlib.sha256(repr((made_from, ZSTD)).encode()).hexdigest()[:16]

    def make(target: Path) -> None:
        try:
            done = subprocess.run(ZSTD, input=data(), capture_output=True, check=True)
        except FileNotFoundError as err:
            raise Missing("compress the initrd", "there is no zstd on this machine", "apt-get install zstd") from err
        except subprocess.CalledProcessError as err:
            raise Fault(
                "compress the initrd", err.stderr.decode("utf-8", "replace").strip(), "free some memory"
            ) from err
        target.write_bytes(done.stdout + bytes(-len(done.stdout) % ALIGNMENT))

    return cache.entry(KIND, f"{name}-{key}.cpio.zst", make, keep=KEEP)


def _beside(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _certificates() -> bytes:
    return CERTIFICATES.read_bytes() if CERTIFICATES.exists() else b""
