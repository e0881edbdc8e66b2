"""Payload images: built from the sources in this folder with gcc and binutils, and kept until a source changes.

The wheel brings built images along, so a host under test needs no compiler; from a checkout they are made on
first use.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from virtproof.guest_payloads import combination, table
from virtproof.spec.fault import Fault

HERE = Path(__file__).parent
BUILT = HERE / "images"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one image is made."""

    sources: tuple[str, ...]
    linker_script: str
    machine: str  # "64" or "32": gcc -m, and the linker's emulation
    flags: tuple[str, ...] = ()


def assembled(source: str, linker_script: str, machine: str, *flags: str) -> Recipe:
    """An image of one file in assembler."""
    return Recipe((source,), linker_script, machine, flags)


def in_c(source: str) -> Recipe:
    """A program in C, with the library: no libc, and no registers that an interrupt handler does not save."""
    return Recipe((source, *LIBRARY), "library/program.ld", "64", C_FLAGS)


def permissions(machine: str, *flags: str) -> Recipe:
    """The accesses under every combination, as 32-bit or as 64-bit code."""
    return Recipe(("permissions.c", "permissions.S"), "permissions.ld", machine, (*C_FLAGS, *flags))


LIBRARY = tuple(sorted(f"library/{file.name}" for file in (HERE / "library").glob("*.[cS]")))
C_FLAGS = (
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-ffreestanding", "-fno-pic", "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-mno-red-zone", "-mgeneral-regs-only",
)  # fmt: skip

HEADERS = {"table.h": table.c_header(), "permissions.h": combination.c_header()}

# fmt: off
RECIPES: Mapping[str, Recipe] = {
    "real16":     assembled("real16.S",     "real16.ld",     "32"),
    "vm86":       assembled("prot32.S",     "low.ld",        "32"),
    "prot16":     assembled("prot32.S",     "low.ld",        "32"),
    "prot32":     assembled("prot32.S",     "trampoline.ld", "32"),
    "pse32":      assembled("prot32.S",     "trampoline.ld", "32", "-DPSE"),
    "pae32":      assembled("prot32.S",     "trampoline.ld", "32", "-DPAE"),
    "compat32":   assembled("long64.S",     "trampoline.ld", "64"),
    "long64":     assembled("long64.S",     "trampoline.ld", "64"),
    "fresh_zero": assembled("fresh_zero.S", "program.ld",    "64"),
    "rounds":     assembled("rounds.S",     "program.ld",    "64"),
    "reproducer": assembled("reproducer.S", "reproducer.ld", "64"),
    "bare":       assembled("bare.S",       "bare.ld",       "64"),
    "smp":        in_c("smp.c"),
    "lapic":      in_c("lapic.c"),
    "requests":   in_c("requests.c"),
    "accesses":   in_c("devices/accesses.c"),
    "e1000":      in_c("devices/e1000.c"),
    "races":      in_c("devices/races.c"),
    "tables":     in_c("devices/tables.c"),
    "vmxnet3":    in_c("devices/vmxnet3.c"),
    "virtio_net": in_c("devices/virtio_net.c"),
    "virtio_blk": in_c("devices/virtio_blk.c"),
    "virtio_scsi": in_c("devices/virtio_scsi.c"),
    "pvscsi":     in_c("devices/pvscsi.c"),
    "mpt":        in_c("devices/mpt.c"),
    "ipi":        in_c("ipi.c"),
    "nmi":        in_c("nmi.c"),
    "startup":    in_c("startup.c"),
    "lines":      in_c("lines.c"),
    "timers":     in_c("timers.c"),
    "pit":        in_c("pit.c"),
    "litmus":     in_c("litmus.c"),
    "atomics":    in_c("atomics.c"),
    "pingpong":   in_c("pingpong.c"),
    "exits":      in_c("exits.c"),
    "nested":     in_c("nested.c"),
    "bench":      in_c("bench.c"),
    "cpuid":      in_c("cpuid.c"),
    "msr":        in_c("msr.c"),
    "permissions32": permissions("32", "-mregparm=3"),
    "permissions64": permissions("64"),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Image:
    """A flat image and its symbols (guest-physical addresses).  ``data`` is loaded at ``symbols["image"]``."""

    name: str
    data: bytes
    symbols: Mapping[str, int]

    def __getitem__(self, symbol: str) -> int:
        return self.symbols[symbol]


class BuildError(Fault):
    """An image could not be built."""


@functools.cache
def load(name: str) -> Image:
    """The image of that name, built first if it is absent or older than its sources.

    Raises ``BuildError`` where it has to be built and cannot be.
    """
    stamp = _stamp(RECIPES[name])
    for folder in (BUILT, _user_cache()):
        image = _read(folder, name, stamp)
        if image is not None:
            return image
    folder = BUILT if os.access(BUILT if BUILT.exists() else HERE, os.W_OK) else _user_cache()
    build(name, folder)
    image = _read(folder, name, stamp)
    if image is None:
        raise BuildError(
            f"building the payload {name}", f"{folder} does not hold it afterwards", "report this as a bug"
        )
    return image


def build_all(folder: Path = BUILT) -> None:
    """Build every image into ``folder``.  Raises ``BuildError``."""
    for name in RECIPES:
        build(name, folder)


def build(name: str, folder: Path) -> None:
    """Build one image into ``folder`` as NAME.bin and NAME.json; another process may be doing the same."""
    recipe = RECIPES[name]
    missing = [tool for tool in ("gcc", "ld", "objcopy", "nm") if shutil.which(tool) is None]
    if missing:
        raise BuildError(
            f"building the payload {name}",
            f"no {', '.join(missing)} on this machine",
            "install gcc and binutils (apt-get install gcc binutils), or install virtproof from a wheel",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as work:
            at = Path(work)
            for header, text in HEADERS.items():
                (at / header).write_text(text)
            elf, binary, index = (str(at / f"{name}.{suffix}") for suffix in ("elf", "bin", "json"))
            objects = [str(at / f"{n}.o") for n in range(len(recipe.sources))]
            emulation = {"64": "elf_x86_64", "32": "elf_i386"}[recipe.machine]
            for source, made in zip(recipe.sources, objects, strict=True):
                _run("gcc", f"-m{recipe.machine}", "-c", f"-I{work}", *recipe.flags, str(HERE / source), "-o", made)
            _run("ld", "-m", emulation, "-T", str(HERE / recipe.linker_script), "--build-id=none", *objects, "-o", elf)
            _run("objcopy", "-O", "binary", elf, binary)
            symbols = {
                fields[2]: int(fields[0], 16)
                for fields in (line.split() for line in _run("nm", "--defined-only", elf).splitlines())
                if len(fields) == 3
            }
            Path(index).write_text(json.dumps({"stamp": _stamp(recipe), "symbols": symbols}))
            for suffix in ("bin", "json"):  # the index last: it vouches for the image
                os.replace(at / f"{name}.{suffix}", folder / f"{name}.{suffix}")
    except OSError as err:
        raise BuildError(
            f"building the payload {name} in {folder}",
            err.strerror or str(err),
            "make the folder writable, or set XDG_CACHE_HOME to another",
        ) from err


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(" ".join(command), done.stderr.strip()[:2000], "check the compiler's message")
    return done.stdout


def _stamp(recipe: Recipe) -> str:
    """What an image depends on, as a hash."""
    digest = hashlib.sha256(repr((recipe, HEADERS)).encode())
    included = sorted((*HERE.glob("*.inc"), *HERE.glob("library/*.h"), *HERE.glob("devices/*.h")))
    for file in (*(HERE / source for source in recipe.sources), HERE / recipe.linker_script, *included):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(folder: Path, name: str, stamp: str) -> Image | None:
    try:
        index = json.loads((folder / f"{name}.json").read_text())
        if index["stamp"] != stamp:
            return None
        return Image(name, (folder / f"{name}.bin").read_bytes(), index["symbols"])
    except (OSError, ValueError, KeyError):
        return None


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "virtproof" / "images"
