"""What an emulator is asked to boot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

# quiet: the emulated serial port is slow.  The self-tests of the crypto API take longer than all the rest of a boot.
# The TSC of an emulator does not keep time with its other clocks, and nothing here depends on mitigations.
KERNEL_PARAMETERS = (
    "console=ttyS0,115200 quiet cryptomgr.notests no_timer_check random.trust_cpu=on tsc=unstable mitigations=off "
    "panic=-1"
)


class Emulator(StrEnum):
    """QEMU's own processor (TCG) has SVM and no VMX; Bochs has both, slowly, and no IOMMU."""

    QEMU = "qemu"
    BOCHS = "bochs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine without disks: ``initrds`` follow each other in memory."""

    cpu: str  # a CPU model in the emulator's words
    kernel: Path
    initrds: Sequence[Path]
    parameters: str = ""  # for the kernel, beside KERNEL_PARAMETERS
    cpus: int = 1
    memory: int = 768  # MiB
    devices: Sequence[str] = field(default_factory=tuple)  # in the emulator's words
    firmware: str = ""  # a name in bios.VARIANTS, empty for the emulator's own

    @property
    def command_line(self) -> str:
        return f"{KERNEL_PARAMETERS} {self.parameters}".rstrip()
