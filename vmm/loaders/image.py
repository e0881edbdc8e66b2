"""What a loader is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from virtproof.spec.fault import Fault
from virtproof.vmm.engine import Vcpu
from virtproof.vmm.memory import GuestMemory
from virtproof.vmm.registers import Registers, SpecialRegisters


class LoadError(Fault):
    """A file that is not the kernel it was taken for, or that does not fit the machine."""


class Module(NamedTuple):
    """One more file for the kernel: an initial RAM disk, or whatever the kernel takes it for."""

    name: str
    content: bytes


class Kernel(NamedTuple):
    """A file to boot; ``arguments`` is the command line without the name of the kernel."""

    name: str
    content: bytes
    arguments: bytes = b""
    module: Module | None = None

    def refuse(self, saw: str, remedy: str = "") -> LoadError:
        return LoadError(f"load {self.name}", saw, remedy)

    def refuse_extras(self, format_: str) -> None:
        """Raise LoadError where there are arguments or a module, for formats that have no way to pass them."""
        extra = "a command line" if self.arguments else "a module" if self.module else ""
        if extra:
            raise self.refuse(f"{format_} has no way to pass {extra}", "leave it out, or use a multiboot or PVH kernel")


class Piece(NamedTuple):
    """One range of guest-physical memory: ``data``, then zeros up to ``size`` bytes."""

    address: int
    data: bytes | memoryview
    size: int
    what: str

    @property
    def end(self) -> int:
        return self.address + self.size


class Image(NamedTuple):
    """A kernel in memory, about to run: what lies where, and the state of the first vCPU at the entry.

    No piece overlaps another or leaves the RAM it was laid out for.
    """

    format: str
    pieces: tuple[Piece, ...]
    registers: Registers
    enter: Callable[[SpecialRegisters], SpecialRegisters]

    def start(self, memory: GuestMemory, vcpu: Vcpu) -> None:
        """Put the pieces into fresh, zeroed ``memory`` and make ``vcpu`` ready to run."""
        for piece in self.pieces:
            memory.load(piece.address, piece.data)
        vcpu.set_special_registers(self.enter(vcpu.special_registers()))
        vcpu.set_registers(self.registers)
