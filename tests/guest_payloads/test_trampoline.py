"""Trampolines on the monitor: every stimulus starts from the same state, and one that dies costs only itself."""

import pytest

from virtproof.guest_payloads import images
from virtproof.guest_payloads.table import GPRS, Entry, Phase, SetKind
from virtproof.guest_payloads.trampoline import Mode, walk
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.exits import Shutdown, Timeout
from virtproof.vmm.machine import Machine

pytestmark = pytest.mark.kvm

# kvm_pvm cannot run the other three; what they do is checked where a host can (docs/hosts.md).
MODES = (Mode.LONG64, Mode.COMPAT32, Mode.PROT32, Mode.PROT16, Mode.REAL16)
SEGMENTS = {Mode.REAL16: (0, 0), Mode.PROT16: (0x68, 0x70), Mode.COMPAT32: (0x18, 0x10)}  # CS and data

UD2 = b"\x0f\x0b"
NOP = b"\x90"
LOOP = b"\xeb\xfe"
HLT = b"\xf4"
LIDT_ZERO = b"\x0f\x01\x1c\x25" + (0x16000).to_bytes(4, "little")  # lidt [kernel_data], which is all zero


def entry(mode: Mode, code: bytes) -> Entry:
    image, made = images.load(mode), Entry()
    stimulus = made.stimulus
    for n in range(16):
        stimulus.gpr[n] = 0x0123_4567_89AB_0000 + n
    stimulus.gpr[GPRS.index("rsp")] = image["kernel_stack_top"]
    stimulus.rip = stimulus.code_address = image["kernel_code"]
    stimulus.rflags = 2
    stimulus.cs, stimulus.ss = SEGMENTS.get(mode, (0x08, 0x10))
    stimulus.ds = stimulus.ss
    stimulus.code[: len(code)] = code
    stimulus.code_length = len(code)
    return made


@pytest.mark.parametrize("mode", MODES)
def test_registers_go_in_and_come_out(engine: KvmEngine, mode: Mode) -> None:
    (answer,) = walk(engine, mode, [entry(mode, NOP + UD2)], seconds=5)
    seen = answer.observation
    assert seen is not None
    assert (seen.vector, seen.phase, seen.rip) == (Vector.UD, Phase.RUN, images.load(mode)["kernel_code"] + 1)
    visible = range(16) if mode is Mode.LONG64 else range(8)
    width = 0xFFFF_FFFF_FFFF_FFFF if mode is Mode.LONG64 else 0xFFFF_FFFF
    expected = [0x0123_4567_89AB_0000 + n & width for n in visible]
    expected[4] = images.load(mode)["kernel_stack_top"]
    assert [seen.gpr[n] & width for n in visible] == expected


@pytest.mark.parametrize("mode", MODES)
def test_a_stimulus_that_dies_costs_only_itself(engine: KvmEngine, mode: Mode) -> None:
    looping = entry(mode, LOOP)
    answers = walk(engine, mode, [entry(mode, UD2), looping, entry(mode, UD2), looping, looping], seconds=0.05)
    assert [answer.observation is not None for answer in answers] == [True, False, True, False, False]
    assert all(isinstance(answer.end, Timeout) for answer in answers if answer.observation is None)
    assert answers[1].registers is not None
    assert answers[1].registers.rip == images.load(mode)["kernel_code"]


def test_a_triple_fault_is_one_answer(engine: KvmEngine) -> None:
    answers = walk(engine, Mode.LONG64, [entry(Mode.LONG64, LIDT_ZERO + UD2), entry(Mode.LONG64, UD2)], seconds=5)
    assert isinstance(answers[0].end, Shutdown)
    assert answers[1].observation is not None


def test_what_a_stimulus_set_is_put_back(engine: KvmEngine) -> None:
    image = images.load("long64")
    changing, plain = entry(Mode.LONG64, UD2), entry(Mode.LONG64, b"\x0f\x20\xe0" + UD2)  # mov rax, cr4
    changing.stimulus.set_count = 2
    for slot, (kind, address, value) in zip(
        changing.stimulus.sets,
        ((SetKind.MEM64, image["kernel_data"], 0x1122_3344_5566_7788), (SetKind.CR4, 0, 0x28)),
        strict=False,
    ):
        slot.kind, slot.address, slot.value = kind, address, value
    for made in (changing, plain):
        made.stimulus.peek_count = 1
        made.stimulus.peeks[0] = image["kernel_data"]
    first, second = (answer.observation for answer in walk(engine, Mode.LONG64, [changing, plain], seconds=5))
    assert first is not None
    assert second is not None
    assert (first.peeked[0], first.old[0], first.old[1]) == (0x1122_3344_5566_7788, 0, 0x20)
    assert (second.peeked[0], second.gpr[0]) == (0, 0x20)


def test_a_refused_set_is_told_from_the_stimulus(engine: KvmEngine) -> None:
    refused = entry(Mode.LONG64, UD2)
    refused.stimulus.set_count = 1
    lstar = refused.stimulus.sets[0]
    lstar.kind, lstar.index, lstar.value = SetKind.MSR, Msr.IA32_LSTAR, 1 << 63  # not canonical
    answers = walk(engine, Mode.LONG64, [refused, entry(Mode.LONG64, UD2)], seconds=5)
    seen = answers[0].observation
    assert seen is not None
    assert (seen.vector, seen.phase) == (Vector.GP, Phase.SETUP)
    assert answers[1].observation is not None


def test_accesses_belong_to_their_stimulus(engine: KvmEngine) -> None:
    def out(value: int) -> bytes:
        return bytes((0xB0, value, 0xE6, 0x80)) + UD2  # mov al, value; out 0x80, al

    answers = walk(engine, Mode.LONG64, [entry(Mode.LONG64, out(n)) for n in (1, 2)], seconds=5)
    assert [[(a.address, a.value) for a in answer.accesses] for answer in answers] == [[(0x80, 1)], [(0x80, 2)]]


def test_more_entries_than_a_table_holds_are_walked_in_turn(engine: KvmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtproof.guest_payloads.trampoline.CAPACITY", 2)
    answers = walk(engine, Mode.LONG64, [entry(Mode.LONG64, UD2)] * 5, seconds=5)
    assert len(answers) == 5
    assert all(answer.observation is not None for answer in answers)


def test_furnish_may_add_memory_and_devices(engine: KvmEngine) -> None:
    def furnish(machine: Machine) -> None:
        machine.memory.add(1 << 29, 4096)
        machine.memory.load(1 << 29, b"\x5a")

    load = entry(Mode.LONG64, b"\x8a\x03" + UD2)  # mov al, [rbx]
    load.stimulus.gpr[GPRS.index("rbx")] = 1 << 29
    (answer,) = walk(engine, Mode.LONG64, [load], seconds=5, furnish=furnish)
    assert answer.observation is not None
    assert answer.observation.gpr[0] & 0xFF == 0x5A


SAY_START = b"\xba\x50\x56\x00\x00\xb8%b\xef"  # mov edx, REPORT_PORT; mov eax, ...; out dx, eax


@pytest.mark.parametrize("index", [0, 1, 2, 100_000])
def test_a_stimulus_cannot_start_others(engine: KvmEngine, index: int) -> None:
    """However often it says START: answers are neither more than entries, nor others'."""
    says = SAY_START % (1 << 24 | index).to_bytes(4, "little")
    liar = entry(Mode.LONG64, says + b"\xeb" + bytes([256 - len(says) - 2]))  # for ever
    first, second, third = walk(
        engine, Mode.LONG64, [entry(Mode.LONG64, UD2), liar, entry(Mode.LONG64, UD2)], seconds=5
    )
    assert first.observation is not None
    assert second.observation is None
    assert (second.end is None) == (index == 2)  # it may seem to have walked on: then the next one pays as well
    assert (third.observation is not None) == (index != 2)
