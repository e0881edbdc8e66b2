"""Exceptions and their vectors: Intel SDM vol. 3A, "Interrupt and Exception Handling"; AMD APM vol. 2, "Exceptions and
Interrupts".
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

from virtproof.spec.bits import Bits, bit, bits


class Vector(IntEnum):
    """Exception vectors by mnemonic."""

    DE = 0
    DB = 1
    NMI = 2
    BP = 3
    OF = 4
    BR = 5
    UD = 6
    NM = 7
    DF = 8
    TS = 10
    NP = 11
    SS = 12
    GP = 13
    PF = 14
    MF = 16
    AC = 17
    MC = 18
    XM = 19
    VE = 20
    CP = 21
    HV = 28
    VC = 29
    SX = 30

    @property
    def mnemonic(self) -> str:
        """``#GP``; the NMI is no exception and has no hash."""
        return self.name if self is Vector.NMI else f"#{self.name}"


class Kind(Enum):
    """Where the saved instruction pointer points."""

    FAULT = "fault"  # to the instruction that caused it
    TRAP = "trap"  # past it
    ABORT = "abort"  # nowhere reliable
    INTERRUPT = "interrupt"  # to the next instruction to execute
    FAULT_OR_TRAP = "fault or trap"  # #DB: by condition


class DoubleFaultClass(Enum):
    """The class that decides whether two exceptions make a double fault."""

    BENIGN = "benign"
    CONTRIBUTORY = "contributory"
    PAGE_FAULT = "page fault"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table of exceptions and interrupts."""

    vector: Vector
    title: str
    kind: Kind
    pushes_error_code: bool
    double_fault_class: DoubleFaultClass
    note: str = ""


_B, _C, _P = DoubleFaultClass.BENIGN, DoubleFaultClass.CONTRIBUTORY, DoubleFaultClass.PAGE_FAULT

# fmt: off
EXCEPTIONS = {row.vector: row for row in (
    #   vector      title                          kind                code?  class
    Row(Vector.DE,  "divide error",                Kind.FAULT,         False, _C),
    Row(Vector.DB,  "debug",                       Kind.FAULT_OR_TRAP, False, _B,
        "fault: instruction breakpoint and general detect; else trap"),
    Row(Vector.NMI, "non-maskable interrupt",      Kind.INTERRUPT,     False, _B),
    Row(Vector.BP,  "breakpoint",                  Kind.TRAP,          False, _B, "INT3"),
    Row(Vector.OF,  "overflow",                    Kind.TRAP,          False, _B, "INTO; not in 64-bit mode"),
    Row(Vector.BR,  "BOUND range exceeded",        Kind.FAULT,         False, _B, "not in 64-bit mode"),
    Row(Vector.UD,  "invalid opcode",              Kind.FAULT,         False, _B),
    Row(Vector.NM,  "device not available",        Kind.FAULT,         False, _B),
    Row(Vector.DF,  "double fault",                Kind.ABORT,         True,  _B, "the code is always 0"),
    Row(Vector.TS,  "invalid TSS",                 Kind.FAULT,         True,  _C),
    Row(Vector.NP,  "segment not present",         Kind.FAULT,         True,  _C),
    Row(Vector.SS,  "stack-segment fault",         Kind.FAULT,         True,  _C),
    Row(Vector.GP,  "general protection",          Kind.FAULT,         True,  _C),
    Row(Vector.PF,  "page fault",                  Kind.FAULT,         True,  _P, "CR2 holds the address"),
    Row(Vector.MF,  "x87 floating-point error",    Kind.FAULT,         False, _B,
        "pending since an earlier instruction"),
    Row(Vector.AC,  "alignment check",             Kind.FAULT,         True,  _B, "the code is always 0"),
    Row(Vector.MC,  "machine check",               Kind.ABORT,         False, _B),
    Row(Vector.XM,  "SIMD floating-point error",   Kind.FAULT,         False, _B),
    Row(Vector.VE,  "virtualization exception",    Kind.FAULT,         False, _P, "Intel only"),
    Row(Vector.CP,  "control protection",          Kind.FAULT,         True,  _C),
    Row(Vector.HV,  "hypervisor injection",        Kind.INTERRUPT,     False, _B, "AMD only: SEV-SNP guests"),
    Row(Vector.VC,  "VMM communication",           Kind.FAULT,         True,  _C, "AMD only: SEV-ES guests"),
    Row(Vector.SX,  "security exception",          Kind.FAULT,         True,  _C, "AMD only"),
)}


class SelectorErrorCode(Bits, width=32):
    """Error code of #TS, #NP, #SS and #GP; all zero where no selector is to blame."""

    ext   = bit(0,      "the event was not caused by the program: interrupt or earlier exception")
    idt   = bit(1,      "the index is a vector: a gate of the IDT")
    ti    = bit(2,      "with IDT clear: the LDT")
    index = bits(15, 3)


class PageFaultErrorCode(Bits, width=32):
    """Error code of #PF."""

    p    = bit(0,  "0: a paging entry was not present; 1: the access was refused")
    w    = bit(1,  "write")
    u    = bit(2,  "the access was a user access (CPL 3)")
    rsvd = bit(3,  "a reserved bit was set in a paging entry")
    i    = bit(4,  "instruction fetch; only with EFER.NXE (and PAE) or CR4.SMEP")
    pk   = bit(5,  "a protection key refused")
    ss   = bit(6,  "shadow-stack access")
    hlat = bit(7,  "during HLAT paging; Intel only")
    sgx  = bit(15, "SGX access control; Intel only")
    rmp  = bit(31, "reverse map table refused; AMD only: SEV-SNP")
# fmt: on


def makes_double_fault(first: Vector, second: Vector) -> bool:
    """Does ``second``, raised while delivering ``first``, become #DF?  If not, the two are handled one after the other.

    SDM table "Conditions for Generating a Double Fault".  While #DF itself is delivered either class is a shutdown.
    """
    a, b = EXCEPTIONS[first].double_fault_class, EXCEPTIONS[second].double_fault_class
    return (a is _C and b is _C) or (a is _P and b is not _B)
