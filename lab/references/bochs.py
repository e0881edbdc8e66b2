"""Bochs as a reference: the one that comes nearest to the manuals.

https://bochs.sourceforge.io, Bochs User Manual, "The configuration file bochsrc".  Distributions' builds stop in their
debugger at start and have no display that needs nothing, but for RFB.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from pathlib import Path

from virtproof.lab import cache
from virtproof.lab.hosts.bochs import BUILT
from virtproof.lab.references import emulator
from virtproof.lab.references.emulator import Emulator
from virtproof.lab.references.reference import Machine, ReferenceMissing
from virtproof.spec.fault import Fault

VARIABLE = "VIRTPROOF_BOCHS"  # names another build
CPUS = ("corei7_skylake_x", "corei7_icelake_u")
NO_VGA = b"\x55\xaa\x01".ljust(511, b"\0") + b"\0"  # Bochs insists on a video BIOS: one that nobody calls


class Bochs(Emulator):
    """One build of Bochs."""

    cpus = CPUS

    def __init__(self, program: str, version: str) -> None:
        super().__init__(program, f"bochs {version}")

    @classmethod
    def find(cls) -> Bochs:
        """Return the build that ``VIRTPROOF_BOCHS`` names, else the lab's own, else the one on PATH.

        Raises ``ReferenceMissing``, and Fault where it is no Bochs.
        """
        ours = cache.folder() / BUILT / "bochs"
        wanted = os.environ.get(VARIABLE) or (str(ours) if ours.exists() else "bochs")
        program = shutil.which(wanted)
        if program is None:
            raise ReferenceMissing(
                "find Bochs",
                f"no {wanted} on this machine",
                f"apt-get install bochs, virtproof lab build bochs, or name a build in {VARIABLE}",
            )
        text = emulator.output(program, "--help")
        found = re.search(r"Bochs x86 Emulator (\d[\w.]*)", text)
        if found is None:
            raise Fault(f"run {program} --help", f"it does not say its version: {text[-200:]}", f"set {VARIABLE}")
        return cls(program, found[1])

    def command(self, folder: Path, rom: Path, machine: Machine) -> list[str]:
        (folder / "vgarom").write_bytes(NO_VGA)
        (folder / "bochsrc").write_text(_bochsrc(self._display, rom, machine))
        return [self.program, "-q", "-f", "bochsrc"]

    @functools.cached_property
    def _display(self) -> str:
        """The display that needs neither a screen nor a terminal, and that this build has."""
        nogui, rfb = "nogui", 'rfb, options="timeout=0"'
        with tempfile.TemporaryDirectory(prefix="virtproof-bochs-") as folder:
            (Path(folder) / "bochsrc").write_text(f"display_library: {nogui}\nromimage: file=/nonexistent\n")
            said = emulator.output(self.program, "-q", "-f", "bochsrc", folder=folder)
        return rfb if f"'{nogui}' not available" in said else nogui


def _bochsrc(display: str, rom: Path, machine: Machine) -> str:
    return f"""display_library: {display}
romimage: file={rom}
vgaromimage: file=vgarom
cpu: model={machine.cpu}, ips=100000000, reset_on_triple_fault=1, ignore_bad_msrs=0
memory: guest={machine.memory}, host={machine.memory}
port_e9_hack: enabled=1
clock: sync=none
log: log
panic: action=report
error: action=report
info: action=ignore
debug: action=ignore
"""
