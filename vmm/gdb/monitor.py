"""The commands that GDB passes on: ``monitor COMMAND``."""

from __future__ import annotations

from dataclasses import fields

from virtproof.spec.fault import Fault
from virtproof.vmm.gdb.debuggee import Debuggee
from virtproof.vmm.registers import Segment, SpecialRegisters, Table

HELP = """\
exits            KVM's counters of this vCPU, those that are not zero
regs             general and special registers, hidden parts included
translate ADDR   where a linear address leads by this vCPU's page tables
"""


def monitor(debuggee: Debuggee, vcpu: int, command: str) -> str:
    """Carry out one command on the selected vCPU and return what is to be shown."""
    try:
        match command.split():
            case ["exits"]:
                return _exits(debuggee, vcpu)
            case ["regs"]:
                state = debuggee.state(vcpu)
                return "\n".join((str(state.general), *_special(state.special), ""))
            case ["translate", address]:
                return _translate(debuggee, vcpu, address)
            case _:
                return HELP
    except Fault as fault:
        return f"{fault}\n"


def _exits(debuggee: Debuggee, vcpu: int) -> str:
    counters = debuggee.statistics(vcpu).items()
    return "".join(f"{name:<32} {value}\n" for name, value in counters if isinstance(value, int) and value)


def _translate(debuggee: Debuggee, vcpu: int, text: str) -> str:
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 <= address < 1 << 64:
        return f"{text[:40]}: not an address\n"
    found = debuggee.translate(vcpu, address)
    return f"{address:#x}: physical {found.physical:#x}\n" if found.valid else f"{address:#x}: not mapped\n"


def _special(special: SpecialRegisters) -> list[str]:
    lines = []
    for field in fields(special):
        value = getattr(special, field.name)
        if isinstance(value, Segment | Table):
            lines.append(f"{field.name}: " + " ".join(f"{n}={v:#x}" for n, v in value._asdict().items()))
        elif isinstance(value, int):
            lines.append(f"{field.name}={value:#x}")
    return lines
