"""Programs with many tests, what the host does for them, and what their work costs."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from virtproof.conformance.areas.isolation.pingpong import Turns
from virtproof.conformance.case import At, Program, SendMsi, programs_of
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.counters import needs_hardware, needs_second_level, within
from virtproof.conformance.execute import execute
from virtproof.conformance.guest import Inapplicable
from virtproof.guest_payloads import images
from virtproof.results import Backend, Verdict
from virtproof.spec.cite import sdm
from virtproof.vmm.engines.kvm import KvmEngine

lapic = programs_of("interrupts", "lapic", sdm("3A", "Advanced Programmable Interrupt Controller (APIC)"))
MESSAGE = SendMsi(0xFEE0_0000, 0x41)
THREE = lapic("test.three", "a rule", "three_messages", (0x41, 0x41, 0x41, 0), 0, acts=(MESSAGE,))


@pytest.mark.kvm
def test_a_case_names_a_function_and_the_host_acts_for_it(engine: KvmEngine) -> None:
    assert execute(THREE, engine).verdict is Verdict.PASS


@pytest.mark.kvm
def test_a_test_that_waits_for_ever_is_a_crash(engine: KvmEngine) -> None:
    result = execute(replace(THREE, acts=(), seconds=0.2), engine)
    assert (result.verdict, result.reason) == (Verdict.CRASH, "no answer within 0.2 s")


@pytest.mark.kvm
def test_other_observations_fail(engine: KvmEngine) -> None:
    result = execute(replace(THREE, observations=(0x41, 0x41, 0)), engine)
    assert result.verdict is Verdict.FAIL
    assert result.reason == "observations: expected 0x41 0x41 0x0, saw 0x41 0x41 0x41 0x0"


def test_every_function_that_a_case_names_is_in_its_image() -> None:
    named = [(case.id, case.image, value.symbol) for case in all_cases() if isinstance(case, Program)
             for value in case.arguments if isinstance(value, At)]  # fmt: skip
    assert named
    assert [row for row in named if row[2] not in images.load(row[1]).symbols] == []


@pytest.mark.parametrize(
    ("name", "software", "applies"),
    [("kvm_intel", False, True), ("kvm_amd", False, False), ("kvm_pvm", True, False), ("unknown", None, False)],
)
def test_a_rule_about_hardware_is_skipped_elsewhere(name: str, software: bool | None, applies: bool) -> None:
    engine = SimpleNamespace(backend=Backend(engine="kvm", name=name, software=software))
    if applies:
        needs_hardware(engine, "kvm_intel")  # type: ignore[arg-type]
    else:
        with pytest.raises(Inapplicable, match=f"the backend is {name}: the rule is about kvm_intel"):
            needs_hardware(engine, "kvm_intel")  # type: ignore[arg-type]


def test_cost_is_not_judged_on_software() -> None:
    engine = SimpleNamespace(backend=Backend(engine="kvm", name="kvm_pvm", software=True))
    with pytest.raises(Inapplicable):
        needs_second_level(engine)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counters", "ok", "saw"), [({"a": 3}, True, "3"), ({"a": 5}, False, "5"), ({"b": 3}, False, "no such counter")]
)
def test_a_counter_is_within_limits_or_not(counters: dict[str, int], ok: bool, saw: str) -> None:
    check = within("work", counters, "a", 0, 4)
    assert (check.field, check.expected, check.observed, check.ok) == ("work: a", "0 to 4", saw, ok)


def test_two_take_turns_until_one_is_gone() -> None:
    turns, order = Turns(), list[int]()

    def play(me: int, rounds: int) -> None:
        turns.await_turn(me)
        for _ in range(rounds):
            order.append(me)
            turns.hand_over(me)
        turns.leave(me)

    threads = [threading.Thread(target=play, args=row) for row in ((0, 2), (1, 4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 0, 1, 1, 1]
