"""Registers that list capabilities, as tables: each row is a field, its name in the manual, and a fact.

The facts are made of the tables, and ``virtproof probe --vmx`` and ``--svm`` print them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from virtproof.probes.fact import Fact, Source
from virtproof.probes.source_registers import control, cpuid, msr, msr_capability
from virtproof.spec.bits import Bits, Field
from virtproof.spec.cite import Cite


@dataclass(frozen=True, slots=True)
class Row:
    """One field: the id of its fact, and its name in the manual.  ``layout`` names the bits of a register-wide one."""

    id: str
    field: Field[Any]
    term: str
    ref: str = ""
    layout: type[Bits] | None = None


@dataclass(frozen=True, slots=True)
class CpuidPlace:
    """Subleaf 0 of a CPUID leaf."""

    leaf: int
    register: str

    def __str__(self) -> str:
        return f"CPUID {self.leaf:08X}H {self.register.upper()}"

    def source(self, field: Field[Any]) -> Source:
        return cpuid(self.leaf, self.register, field)


@dataclass(frozen=True, slots=True)
class MsrPlace:
    """An MSR that is what it says, or lists capabilities: then it lists none where the processor does not have it."""

    index: IntEnum
    capabilities: bool = False

    def __str__(self) -> str:
        return f"{self.index.name} ({self.index:X}H)"

    def source(self, field: Field[Any]) -> Source:
        return msr_capability(self.index, field) if self.capabilities else msr(self.index, field)


@dataclass(frozen=True, slots=True)
class ControlsPlace:
    """The capability of 32 VMX controls: which must be 1, which may be.  ``true`` is the TRUE capability, 0 for none.

    The two differ only in what must be 1 (Intel SDM vol. 3D, App. A 'Reserved Controls and Default Settings').
    """

    index: IntEnum
    true: int = 0

    def __str__(self) -> str:
        return f"{self.index.name} ({self.index:X}H)" + (f", TRUE {self.true:X}H" if self.true else "")

    def source(self, field: Field[Any]) -> Source:
        return control(self.index, field)


Place = CpuidPlace | MsrPlace | ControlsPlace


@dataclass(frozen=True, slots=True)
class Register:
    """A register, its name in the manual, and its fields in the order of their bits.

    ``whole``: every field that has a name is there; otherwise only those that matter here.
    """

    place: Place
    name: str
    cite: Cite
    rows: tuple[Row, ...]
    whole: bool = True


def facts(registers: Iterable[Register]) -> tuple[Fact, ...]:
    """A fact for each row."""
    return tuple(
        Fact(
            id=row.id,
            source=register.place.source(row.field),
            meaning=f"{register.name}: {row.term}",
            cite=register.cite,
            refs=(row.ref,) if row.ref else (),
        )
        for register in registers
        for row in register.rows
    )
