"""All mutants of the processor and the monitor."""

from __future__ import annotations

from tests.mutants import (
    controllers,
    delivery,
    e1000,
    e1000_frames,
    instructions,
    monitor,
    order,
    paging,
    pci,
    platform,
    registers,
    scsi,
    virtio,
    vmxnet3,
)
from tests.mutants.mutant import Mutant

MODULES = (
    delivery,
    instructions,
    paging,
    registers,
    monitor,
    controllers,
    pci,
    platform,
    vmxnet3,
    virtio,
    e1000,
    e1000_frames,
    scsi,
    order,
)
MUTANTS: tuple[Mutant, ...] = tuple(mutant for module in MODULES for mutant in module.MUTANTS)
