"""The initrds of lab hosts: what they have in common is built once, and a job is added to each."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from virtproof.lab import cache, debian, initramfs, initramfs_linux, initramfs_python
from virtproof.lab.hosts import inside
from virtproof.lab.hosts.table import LabHost
from virtproof.lab.initramfs import Archive
from virtproof.lab.initramfs_linux import Kernel

MODULES = ("cpuid", "msr", "kvm_amd", "kvm_intel")

# The tools that people use today.
TOOLS = {"kvm-ok": ["/usr/sbin/kvm-ok"], "virt-host-validate": ["/usr/bin/virt-host-validate", "qemu"]}
_TOOL_PROGRAMS = (
    ("cpu-checker", "usr/sbin/kvm-ok"),
    ("msr-tools", "usr/sbin/rdmsr"),
    ("libvirt-clients", "usr/bin/virt-host-validate"),
    # kvm-ok is a shell script.  Busybox' grep takes svm_lock for the word svm, and its shell prefers that grep to any.
    ("dash", "bin/dash"),
    ("grep", "bin/grep"),
    ("grep", "bin/egrep"),
)


def initrds(kernel: Kernel, *, tools: bool) -> tuple[Path, ...]:
    """The parts that hosts with this kernel share, built where the cache does not have them.  Raises ``Fault``."""
    busybox = debian.unpacked("busybox-static").name
    makers = (initramfs, initramfs_python, initramfs_linux)
    parts = [
        *python(),
        _built("linux", (busybox, kernel.root.name), makers, lambda archive: _add_linux(archive, kernel)),
    ]
    if tools:
        packages = sorted({debian.unpacked(package).name for package, _ in _TOOL_PROGRAMS})
        parts.append(_built("tools", packages, makers, _add_tools))
    return tuple(parts)


def python() -> tuple[Path, ...]:
    """The parts with Python, virtproof and what it needs, which do not depend on the kernel.  Raises ``Fault``."""
    sources = initramfs_python.sources()
    makers = (initramfs, initramfs_python)
    return (
        _built("python", (sys.version, *initramfs_python.distributions()), makers, _add_python),
        _built(
            "virtproof", [_digest(sources)], makers, lambda archive: initramfs_python.add_virtproof(archive, sources)
        ),
    )


def job(host: LabHost, command: Sequence[str], *, tools: bool) -> bytes:
    """The initrd that tells ``virtproof.lab.hosts.inside`` what to do."""
    drivers = [["load", name, ""] for name in host.drivers]
    writes = [["wrmsr", number, value] for number, value in host.wrmsr]
    module, _, parameters = host.kvm.partition(" ")
    kvm = [["load", module, parameters]] if module else []
    work = {
        "steps": [*drivers, *writes, *kvm],
        "command": list(command),
        "user": host.user,
        "tools": TOOLS if tools else {},
    }
    archive = Archive()
    archive.file(inside.JOB.lstrip("/"), json.dumps(work).encode())
    return archive.data()


def _add_python(archive: Archive) -> None:
    initramfs_python.add_python(archive)
    initramfs_python.add_distributions(archive)


def _add_linux(archive: Archive, kernel: Kernel) -> None:
    initramfs_linux.add_base(archive)
    initramfs_linux.add_modules(archive, kernel, MODULES)
    archive.file("init", Path(__file__).with_name("init").read_bytes(), 0o755)


def _add_tools(archive: Archive) -> None:
    programs = []
    for package, path in _TOOL_PROGRAMS:
        program = debian.unpacked(package) / path
        archive.file(path, program.read_bytes(), 0o755)
        programs.append(program)
    archive.link("bin/sh", "dash")
    roots = debian.unpacked_all(debian.with_dependencies("libvirt-clients"))
    folders = [root / place for root in roots for place in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")]
    initramfs_python.add_libraries(archive, programs, [folder for folder in folders if folder.is_dir()])


def _built(name: str, made_from: Sequence[str], makers: Sequence[ModuleType], add: Callable[[Archive], None]) -> Path:
    """An initrd in the cache.  Its key is what it was made from, and who made it."""
    recipe = [inspect.getsource(module) for module in (*makers, sys.modules[__name__])]
    init = Path(__file__).with_name("init").read_text(encoding="utf-8")
    key = hashlib.sha256(repr((made_from, recipe, init)).encode()).hexdigest()[:16]

    def make(target: Path) -> None:
        archive = Archive()
        add(archive)
        target.write_bytes(archive.data())

    return cache.entry(f"initrd-{name}", f"{key}.cpio", make)


def _digest(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
