"""A row as a reproducer: a kernel that boots by itself and says PASS or FAIL, and a page about it.

What a reproducer can judge is what the guest itself observes.  It has no monitor of ours around it that would record
accesses, answer them, or see how the guest ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from virtproof.conformance.case import Case, Row, Value
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.encode import code_address, encode, offsets, registers, resolve
from virtproof.conformance.features import FEATURES, Feature
from virtproof.guest_payloads import images, reproducer
from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.reproducer import Judged, Needed, Piece
from virtproof.guest_payloads.table import GPRS, Entry, Observation, Phase
from virtproof.guest_payloads.trampoline import INITIAL, Mode
from virtproof.spec.fault import Fault
from virtproof.spec.guest_protocol import Event
from virtproof.spec.x86.exception import Vector

EVERY_BIT = 0xFFFF_FFFF_FFFF_FFFF
SHUTDOWN = "shutdown"
REACH = 1 << 32  # bytes of memory that a reproducer can fill


class NotExportable(Fault):
    """A case that only a monitor of ours can judge."""


@dataclass(frozen=True, slots=True)
class Reproducer:
    """The ELF file, what it judges, and what its machine must have."""

    row: Row
    kernel: bytes
    judged: tuple[Judged, ...]
    needed: tuple[Needed, ...]
    conditions: tuple[str, ...]  # features that a bit of CPUID cannot say
    memory: int  # MiB that the machine must have at least


def why_not(case: Case) -> str:
    """Empty, or why the case cannot be exported."""
    if not isinstance(case, Row):
        return f"it is a {type(case).__name__}: Python on the host drives it, or it is a program of its own"
    expect = case.expect
    if expect.stop not in (None, SHUTDOWN):
        return f"what must be seen is an exit of KVM: {expect.stop}"
    for present, reason in (
        (bool(expect.accesses), "what must be seen are the accesses that reach the monitor"),
        (bool(case.answers), "it needs a device that answers as the case says"),
        (case.serial or bool(case.acts), "it needs a serial port whose other end the case drives"),
        (any(ram.address + ram.length > REACH for ram in case.ram), "it needs memory that 32-bit code cannot reach"),
        (case.irqchip, "it needs interrupt controllers as they are after a reset, before any firmware"),
    ):
        if present:
            return reason
    return ""


def export(case: Case) -> Reproducer:
    """Make the reproducer of a case.

    Raises ``NotExportable`` with the reason, ``BuildError`` where an image is missing.
    """
    reason = why_not(case)
    if reason or not isinstance(case, Row):
        raise NotExportable(f"export {case.id}", reason, f"run it with virtproof guests {case.id}")
    image = images.load(case.mode.value)
    features = [FEATURES[name] for name in (*_of_the_mode(case.mode), *case.requires)]
    bits = [(feature, _bits(feature)) for feature in dict.fromkeys(features)]
    needed = tuple(Needed(f.name, f.leaf, f.subleaf, f.register, mask) for f, mask in bits if mask)
    judged = tuple(judge(case, image))
    pieces = (
        *(Piece(ram.address, zeros=ram.length) for ram in case.ram),
        *(Piece(resolve(at, image), value.to_bytes(8, "little")) for at, value in case.fill.items()),
    )
    kernel = reproducer.kernel(
        case.id, _heading(case), case.mode, encode(case, image), pieces=pieces, needed=needed, judged=judged
    )
    top = max((ram.address + ram.length for ram in case.ram), default=0)
    conditions = tuple(feature.name for feature, mask in bits if not mask)
    return Reproducer(case, kernel, judged, needed, conditions, max(64, (top >> 20) + 64))


def judge(row: Row, image: Image) -> Iterator[Judged]:
    """What ``compare.compare`` judges of an observation, as masked words in the guest's memory."""
    want = row.expect
    yield Judged("end of the walk", reproducer.event_address(), Event.DONE << 24, 0xFF00_0000)
    if want.stop == SHUTDOWN:
        yield _field("answered (it must shut down)", "answered", image, 0)
        return
    yield _field("answered", "answered", image, 1)
    yield _field("phase (the stimulus ran)", "phase", image, Phase.RUN)
    start, at = code_address(row, image), offsets(row)
    wide = row.mode is not Mode.REAL16
    if want.vector is None:
        yield _field("exception (#UD: completes)", "vector", image, Vector.UD)
        yield _field("saved RIP (behind the code)", "rip", image, start + at[-1])
    else:
        yield _field(f"exception ({mnemonic(want.vector)})", "vector", image, want.vector)
        if want.rip is not None:
            yield _field("saved RIP", "rip", image, resolve(want.rip, image))
        elif want.at is not None:
            yield _field("saved RIP", "rip", image, start + at[want.at % len(row.code) + want.past])
        elif want.vector == Vector.UD:
            raise NotExportable(f"export {row.id}", "its #UD could not be told from completing")
        if want.error_code is not None and wide:
            yield _field("error code", "error_code", image, want.error_code)
        if want.dr6_set is not None:
            yield from _flags("DR6", "dr6", image, want.dr6_set, want.dr6_clear)
    if wide:
        yield from _flags("saved RFLAGS", "rflags", image, want.flags_set, want.flags_clear)
    optional: tuple[tuple[str, str, Value | None], ...] = (
        ("CR2", "cr2", want.cr2),
        ("saved CS", "cs", want.cs),
        ("saved SS", "ss", want.ss),
        ("saved RSP", "rsp", want.rsp),
        ("handler's SS", "handler_ss", want.handler_ss),
        ("frame address", "frame", want.frame),
    )
    yield from (
        _field(name, field, image, resolve(value, image)) for name, field, value in optional if value is not None
    )
    yield from _flags("handler's RFLAGS", "handler_rflags", image, want.handler_flags_set, want.handler_flags_clear)
    mask = EVERY_BIT if row.mode is Mode.LONG64 else 0xFFFF_FFFF
    gprs = _address("gpr", image)
    for register, start_value in registers(row, image).items():
        if want.keeps or register in want.regs:
            expected = resolve(want.regs.get(register, start_value), image)
            yield Judged(register, gprs + 8 * GPRS.index(register), expected & mask, mask)
    peeked = _address("peeked", image)
    for n, (address, word) in enumerate(want.memory.items()):
        if isinstance(word, tuple):
            for part in word:
                bits = part.mask & (1 << 8 * part.size) - 1
                shift = 8 * part.offset
                yield Judged(part.name, peeked + 8 * n, (part.value & bits) << shift, bits << shift)
        else:
            where = f"memory at {address.symbol}{address.offset:+#x}"
            yield Judged(where, peeked + 8 * n, resolve(word, image) & EVERY_BIT)


def _address(field: str, image: Image) -> int:
    """Where the field of the first entry's observation lies."""
    offset: int = getattr(Observation, field).offset
    return image["table"] + Entry.observation.offset + offset


def _field(name: str, field: str, image: Image, want: int) -> Judged:
    return Judged(name, _address(field, image), want & EVERY_BIT)


def _flags(name: str, field: str, image: Image, on: int, off: int) -> Iterator[Judged]:
    if on | off:
        yield Judged(f"{name}, bits {on | off:#x}", _address(field, image), on, on | off)


def _of_the_mode(mode: Mode) -> Iterator[str]:
    efer = INITIAL[mode].efer
    if efer.lme:
        yield "long mode"
    if efer.nxe:
        yield "nx"


def _bits(feature: Feature) -> int:
    """The bits of which any one makes the feature; 0 where it is not a matter of bits."""
    return 0 if feature.test(0) else sum(1 << n for n in range(32) if feature.test(1 << n))


def _heading(row: Row) -> str:
    lines = [f"virtproof reproducer {row.id}", f"  {row.title}", *(f"  {cite}" for cite in row.cite)]
    if row.expect.stop == SHUTDOWN:
        lines.append("  the machine must shut down now (triple fault): PASS is not printed")
    return "\n".join(lines) + "\n"
