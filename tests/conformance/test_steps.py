"""Rows written as steps: their code, where answers go, and what a report says of a step that went wrong."""

import pytest

from virtproof.conformance.case import Answers, At, Contents, Elapse, Expect, Part, Receive, completes, family
from virtproof.conformance.execute import execute
from virtproof.conformance.steps import In, Out, Step, inb, inl, inw, outb, outl, outw, steps
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import CaseResult, Verdict
from virtproof.spec.cite import sdm
from virtproof.vmm.engines.kvm import KvmEngine

row = family("serial", sdm("1", "Input/Output"))
COM1, SCRATCH = 0x3F8, 0x3FF


def texts(*sequence: Step) -> list[str]:
    return [insn.text for insn in steps(*sequence)["code"]]


def parts(*sequence: Step) -> dict[At, tuple[Part, ...]]:
    expect: Expect = steps(*sequence)["expect"]
    return dict(expect.memory)  # type: ignore[arg-type]


def test_each_step_becomes_its_access() -> None:
    assert texts(outb(0x80, 0x41), outw(0x80, 0x4241), outl(0x82, 9)) == [
        "mov dx, 0x80", "mov al, 0x41", "out dx, al", "mov ax, 0x4241", "out dx, ax",
        "mov dx, 0x82", "mov eax, 9", "out dx, eax", "xor eax, eax", "xor edx, edx",
    ]  # fmt: skip


def test_answers_lie_aligned_and_carry_the_name_of_their_step() -> None:
    data = At("kernel_data")
    assert parts(inb(0x80, 0x11), inw(0x80, 0x22, mask=0xF0), inb(0x80), inl(0x80, 0x33), inl(0x80, 0x44)) == {
        data: (
            Part("step 1, inb(0x80)", 0, 1, 0x11, 0xFF),
            Part("step 2, inw(0x80)", 2, 2, 0x22, 0xF0),
            Part("step 4, inl(0x80)", 4, 4, 0x33, 0xFFFF_FFFF),
        ),
        data + 8: (Part("step 5, inl(0x80)", 0, 4, 0x44, 0xFFFF_FFFF),),
    }


def test_acts_of_the_host_are_calls_by_their_index() -> None:
    fields = steps(Receive(b"a"), outb(0x80, 1), Elapse(5))
    assert fields["acts"] == (Receive(b"a"), Elapse(5))
    assert [insn.text for insn in fields["code"]][:2] == ["mov dx, 0x5660", "mov al, 0"]


def test_more_answers_than_there_is_room_for_are_refused() -> None:
    steps(*[inl(0x80, 0)] * 32)
    with pytest.raises(ValueError, match="step 33 reads more than 128 bytes"):
        steps(*[inl(0x80, 0)] * 32, inb(0x80, 0))


@pytest.mark.parametrize("step", [Out(1, 0x1_0000, 0), Out(1, 0x80, 0x100), Out(2, 0x80, -1), In(1, -1, 0, 0)])
def test_numbers_that_do_not_fit_are_refused(step: Step) -> None:
    with pytest.raises(OverflowError):
        steps(step)


def run(engine: KvmEngine, *sequence: Step, **fields: object) -> CaseResult:
    return execute(row("test.steps", "a rule", Mode.LONG64, **steps(*sequence), **fields), engine)


@pytest.mark.kvm
def test_a_row_of_steps_drives_a_device(engine: KvmEngine) -> None:
    devices = (Answers("pio", 0x80, 4, (0x8182_8384, 0x91)), Contents("pio", 0x90, b"\x01\x02\x03\x04"))
    result = run(engine, inl(0x80, 0x8182_8384), inb(0x80, 0x91), inw(0x92, 0x0403), inb(0x91, 0x02), answers=devices)
    assert (result.verdict, result.reason) == (Verdict.PASS, "")


@pytest.mark.kvm
def test_a_wrong_answer_is_told_by_its_step(engine: KvmEngine) -> None:
    result = run(engine, outb(SCRATCH, 0x5A), inb(SCRATCH, 0x5A), inb(SCRATCH, 0xF5, mask=0xF0), serial=True)
    assert (result.verdict, result.reason) == (Verdict.FAIL, "step 3, inb(0x3ff): expected 0xf0, saw 0x50")
    assert [check.field for check in result.checks if check.field.startswith("step")] == [
        "step 2, inb(0x3ff)",
        "step 3, inb(0x3ff)",
    ]


@pytest.mark.kvm
def test_what_the_guest_sends_is_compared(engine: KvmEngine) -> None:
    result = run(engine, outb(COM1, 0x41), serial=True, serial_output=b"B")
    assert (result.verdict, result.reason) == (Verdict.FAIL, "serial output: expected 42, saw 41")


@pytest.mark.kvm
def test_bytes_cannot_arrive_where_there_is_no_serial_port(engine: KvmEngine) -> None:
    result = run(engine, Receive(b"a"))
    assert result.verdict is Verdict.ERROR
    assert "without a serial port" in result.reason


@pytest.mark.kvm
def test_calls_of_the_host_are_not_among_the_accesses(engine: KvmEngine) -> None:
    result = run(engine, Receive(b"a"), Elapse(1), serial=True)
    assert result.verdict is Verdict.PASS
    assert not [line for line in result.evidence if line.startswith("access")]


@pytest.mark.kvm
@pytest.mark.parametrize(("flags", "verdict"), [(0x2, Verdict.FAIL), (0x3, Verdict.PASS)])
def test_flags_are_judged_where_the_code_completes(engine: KvmEngine, flags: int, verdict: Verdict) -> None:
    guest = row("test.flags", "a rule", Mode.LONG64, (), completes(flags_set=1), flags=flags)
    assert execute(guest, engine).verdict is verdict
