"""Why a vCPU stopped: typed, printable values.  Port and memory accesses never get here, the bus answers them."""

from __future__ import annotations

from dataclasses import dataclass

from virtproof.spec.kvm import exits as abi


@dataclass(frozen=True, slots=True)
class Halt:
    """HLT, where nothing in the kernel could wake the vCPU."""

    def __str__(self) -> str:
        return "halted (HLT)"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The processor entered the shutdown state: a triple fault."""

    def __str__(self) -> str:
        return "shutdown (triple fault)"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Somebody kicked the vCPU: a device, the watchdog, another thread."""

    def __str__(self) -> str:
        return "interrupted by the monitor"


@dataclass(frozen=True, slots=True)
class Timeout:
    """The watchdog ended the guest."""

    seconds: float

    def __str__(self) -> str:
        return f"no answer within {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class InternalError:
    """KVM could not go on; ``data`` is what it says about it, ``insn`` the bytes at RIP where it names them."""

    suberror: int
    data: tuple[int, ...] = ()
    insn: bytes = b""
    rip: int = 0
    bits: int = 64  # code size at RIP: 16, 32 or 64

    def __str__(self) -> str:
        text = f"KVM internal error {_named(abi.InternalError, self.suberror)} at RIP {self.rip:#x}"
        if self.insn:
            return f"{text}: {self.insn.hex(' ')}  {disassemble(self.insn, self.bits, self.rip)}"
        return f"{text}: data {' '.join(f'{word:#x}' for word in self.data) or 'none'}"


@dataclass(frozen=True, slots=True)
class FailEntry:
    """The hardware refused to enter the guest: an invalid guest state, most often."""

    hardware_reason: int
    cpu: int

    def __str__(self) -> str:
        return f"VM entry failed on CPU {self.cpu}: hardware reason {self.hardware_reason:#x}"


@dataclass(frozen=True, slots=True)
class Debug:
    """A debug exception that KVM_SET_GUEST_DEBUG asked for."""

    exception: int
    pc: int
    dr6: int
    dr7: int

    def __str__(self) -> str:
        return f"debug exception {self.exception} at {self.pc:#x}, DR6 {self.dr6:#x}, DR7 {self.dr7:#x}"


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """The guest asked for a shutdown or reset, or told of a crash."""

    type: int
    data: tuple[int, ...] = ()

    def __str__(self) -> str:
        text = f"system event {_named(abi.SystemEventType, self.type)}"
        return f"{text}: {' '.join(f'{word:#x}' for word in self.data)}" if self.data else text


@dataclass(frozen=True, slots=True)
class RdMsr:
    """RDMSR that KVM leaves to the monitor; ``why`` is a ``spec.kvm.exits.MsrExitReason``."""

    index: int
    why: int = 0

    def __str__(self) -> str:
        return f"RDMSR of {self.index:#x} ({abi.MsrExitReason(self.why)!r})"


@dataclass(frozen=True, slots=True)
class WrMsr:
    """WRMSR that KVM leaves to the monitor; ``why`` is a ``spec.kvm.exits.MsrExitReason``."""

    index: int
    value: int
    why: int = 0

    def __str__(self) -> str:
        return f"WRMSR of {self.value:#x} to {self.index:#x} ({abi.MsrExitReason(self.why)!r})"


@dataclass(frozen=True, slots=True)
class DirtyRingFull:
    """The vCPU has written more pages than its dirty ring holds: collect it, reset it, and run on."""

    def __str__(self) -> str:
        return "the dirty ring is full"


@dataclass(frozen=True, slots=True)
class Unhandled:
    """An exit that the monitor has no answer to."""

    reason: int
    detail: str = ""

    def __str__(self) -> str:
        return f"exit {_named(abi.ExitReason, self.reason)}" + (f": {self.detail}" if self.detail else "")


Exit = (
    Halt
    | Shutdown
    | Interrupted
    | InternalError
    | FailEntry
    | Debug
    | SystemEvent
    | RdMsr
    | WrMsr
    | DirtyRingFull
    | Unhandled
)


def disassemble(insn: bytes, bits: int, address: int) -> str:
    """Return the first instruction of ``insn`` as Intel-syntax text, or "(not an instruction)"."""
    import capstone  # noqa: PLC0415 -- heavy, and errors are rare

    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits]
    for _, _, mnemonic, operands in capstone.Cs(capstone.CS_ARCH_X86, mode).disasm_lite(insn, address, count=1):
        return f"{mnemonic} {operands}".strip()
    return "(not an instruction)"


def _named(kind: type[abi.ExitReason] | type[abi.InternalError] | type[abi.SystemEventType], value: int) -> str:
    try:
        return f"{kind(value).name} ({value})"
    except ValueError:
        return str(value)
