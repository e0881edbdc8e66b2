"""A case in full, as lines of text: the rule, where it is written down, the code, and what must be observed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtproof.conformance.case import Answers, At, Case, Contents, HostScript, Program, Row, Set
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.encode import offsets
from virtproof.guest_payloads.table import SetKind
from virtproof.spec.x86.msr import Msr

WIDTH = 10  # of the labels
RESERVED_ONE = 0x2  # of RFLAGS


def describe(case: Case) -> Iterator[str]:
    """Yield the lines; the first is the case's id."""
    yield case.id
    yield from _labelled("rule", (case.title,))
    yield from _labelled("area", (f"{case.area}; priority {case.priority}",))
    yield from _labelled("mode", (f"{case.mode}, ring {case.ring}" if isinstance(case, Row) else str(case.mode),))
    yield from _labelled("cite", map(str, case.cite))
    yield from _labelled("also", case.refs)
    yield from _labelled("requires", (", ".join(case.requires),))
    yield from _labelled("proves", (", ".join(case.proves),))
    match case:
        case Row():
            yield from _labelled("before", before(case))
            yield from _labelled("code", code(case))
            yield from _labelled("expected", expected(case))
        case Program():
            yield from _labelled("payload", (case.image,))
            yield from _labelled("expected", (f"observation {value:#x}" for value in case.observations))
        case HostScript():
            doc = getattr(case.script, "__doc__", None) or "Python on the host drives the monitor"
            yield from _labelled("script", (line.strip() for line in doc.strip().splitlines()))


def code(row: Row) -> Iterator[str]:
    """The instructions: offset, bytes, text."""
    for offset, insn in zip(offsets(row), row.code, strict=False):
        yield f"+{offset:#04x}  {insn.hex:<24} {insn.text}".rstrip()


def before(row: Row) -> Iterator[str]:
    """The state in which the code starts, as far as it is not every row's."""
    for name, value in row.regs.items():
        yield f"{name} = {_value(value)}"
    if row.flags != RESERVED_ONE:
        yield f"rflags = {row.flags:#x}"
    yield from map(_set, row.sets)
    for ram in row.ram:
        yield f"memory of {ram.length:#x} bytes at {ram.address:#x}"
    for address, word in row.fill.items():
        yield f"8 bytes at {_value(address)} = {word:#x}"
    yield from map(_device, row.answers)
    if row.serial:
        yield "a 16550A at 0x3f8"
    yield from (f"act of the host: {act}" for act in row.acts)
    if row.irqchip:
        yield "PICs, I/O APIC and local APIC"


def expected(row: Row) -> Iterator[str]:
    """What must be observed."""
    want = row.expect
    if want.stop is not None:
        yield f"the guest ends with: {want.stop}"
        return
    yield "the code completes" if want.vector is None else f"exception {mnemonic(want.vector)}"
    if want.vector is not None:
        yield from _saved_rip(row)
    for name, what in _PLAIN.items():
        value = getattr(want, name)
        if value is not None and (value or name not in _MASKS):
            yield f"{what} {_value(value)}"
    yield from (f"{name} = {_value(value)}" for name, value in want.regs.items())
    for address, word in want.memory.items():
        parts = [f"{part.name} = {part.value:#x}" for part in word] if isinstance(word, tuple) else [_value(word)]
        yield from (f"memory at {_value(address)}: {part}" for part in parts)
    if want.accesses is not None:
        yield f"accesses at the monitor: {'; '.join(map(str, want.accesses)) or 'none'}"
    if row.serial_output is not None:
        yield f"serial output {row.serial_output.hex(' ') or 'none'}"
    if want.keeps:
        yield "all other registers as they were" if want.regs else "all registers as they were"


_PLAIN = {
    "error_code": "error code",
    "cr2": "CR2 =",
    "dr6_set": "DR6 bits set:",
    "dr6_clear": "DR6 bits clear:",
    "flags_set": "saved RFLAGS bits set:",
    "flags_clear": "saved RFLAGS bits clear:",
    "handler_flags_set": "the handler's RFLAGS bits set:",
    "handler_flags_clear": "the handler's RFLAGS bits clear:",
    "cs": "saved CS =",
    "ss": "saved SS =",
    "rsp": "saved RSP =",
    "handler_ss": "the handler's SS =",
    "frame": "the saved RIP lies at",
}


_MASKS = {name for name in _PLAIN if name.endswith(("_set", "_clear"))}


def _saved_rip(row: Row) -> Iterator[str]:
    want = row.expect
    if want.rip is not None:
        yield f"saved RIP = {_value(want.rip)}"
    elif want.at is not None:
        insn = row.code[want.at]
        yield f"saved RIP {'behind' if want.past else 'at'} {insn.text}"


def _set(wanted: Set) -> str:
    match wanted.kind:
        case SetKind.CR0 | SetKind.CR4:
            changes = (("set", wanted.set_bits), ("clear", wanted.clear))
            return f"{wanted.kind.name}: " + ", ".join(f"{what} {bits:#x}" for what, bits in changes if bits)
        case SetKind.CR3:
            return f"CR3 = {_value(wanted.value)}"
        case SetKind.MSR:
            name = f" ({Msr(wanted.index).name})" if wanted.index in Msr.__members__.values() else ""
            return f"MSR {wanted.index:#x}{name} = {_value(wanted.value)}"
        case SetKind.DR | SetKind.XCR:
            return f"{wanted.kind.name}{wanted.index} = {_value(wanted.value)}"
        case kind:
            return f"{kind.name[3:]} bits at {_value(wanted.address)} = {_value(wanted.value)}"


def _device(device: Answers | Contents) -> str:
    where = f"a device at {device.kind} {device.address:#x}"
    if isinstance(device, Contents):
        return f"{where} that holds {device.data.hex(' ')}"
    return f"{where}, length {device.length:#x}: reads bring {', '.join(f'{value:#x}' for value in device.values)}"


def _value(value: int | At) -> str:
    match value:
        case At(symbol, 0):
            return symbol
        case At(symbol, offset):
            return f"{symbol} {'-' if offset < 0 else '+'} {abs(offset):#x}"
    return f"{value:#x}"


def _labelled(label: str, lines: Iterable[str]) -> Iterator[str]:
    """The label before the first of the lines that are not empty; nothing where there are none."""
    for line in filter(None, lines):
        yield f"  {label:<{WIDTH}} {line}"
        label = ""
