"""Bochs and QEMU themselves, and what is known of them."""

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest

from virtproof.conformance.case import HostScript, Program, Row, completes
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.execute import execute
from virtproof.conformance.pool import run_cases
from virtproof.guest_payloads.trampoline import Mode
from virtproof.lab.references import rows
from virtproof.lab.references.bochs import Bochs
from virtproof.lab.references.crosscheck import judge, name_of
from virtproof.lab.references.known import KNOWN
from virtproof.lab.references.qemu import Qemu
from virtproof.lab.references.reference import Reference, ReferenceMissing
from virtproof.lab.references.rows import run_rows, why_not
from virtproof.results import CaseResult, Verdict
from virtproof.spec.fault import Fault
from virtproof.vmm.engines.kvm import KvmEngine

CASES = {case.id: case for case in all_cases()}
EVERY_MODE = [  # a row of each mode, one that completes where there is one
    min(
        (
            c
            for c in CASES.values()
            if isinstance(c, Row) and c.mode is mode and "vme" not in c.requires and not why_not(c)
        ),
        key=lambda c: (c.expect.vector is not None, c.expect.stop is not None),
    )
    for mode in Mode
]


def found(find: Callable[[], Reference]) -> Reference:
    try:
        return find()
    except ReferenceMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def bochs() -> Reference:
    return found(Bochs.find)


@pytest.fixture(scope="module")
def qemu() -> Reference:
    return found(Qemu.find)


def row(name: str) -> Row:
    case = CASES[name]
    assert isinstance(case, Row)
    return case


def verdicts(reference: Reference, *cases: Row) -> list[Verdict]:
    results = {result.id: result.verdict for result in run_rows(reference, cases)}
    return [results[case.id] for case in cases]


class TestWhatAReferenceCanJudge:
    def test_not_what_needs_a_monitor(self) -> None:
        told = {type(case): why_not(case) for case in CASES.values()}
        assert all(told[kind] for kind in (Program, HostScript))
        for need in ("answers", "serial", "acts", "irqchip"):
            assert all(why_not(case) for case in CASES.values() if getattr(case, need, None)), need

    def test_accesses_that_must_be_seen_cannot_be_those_that_must_not_are_left_open(self) -> None:
        some, none = row("pio.x.ring3_iopl3"), replace(row("trap.ud.ud2.long64"), expect=completes(accesses=()))
        assert "accesses" in why_not(some)
        assert why_not(none) == ""

    def test_two_thirds_of_the_rows_need_none(self) -> None:
        every = [case for case in CASES.values() if isinstance(case, Row)]
        assert sum(not why_not(case) for case in every) > len(every) * 0.7

    def test_the_reason_is_in_the_result(self) -> None:
        class Nobody:
            name, cpus = "nobody 1", ()

        (result,) = run_rows(Nobody(), [row("pio.x.ring3_iopl3")])  # type: ignore[arg-type]
        assert result.verdict is Verdict.SKIP
        assert result.reason.startswith(rows.NOT_APPLICABLE)


class TestMissing:
    @pytest.fixture(autouse=True)
    def nothing_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
        monkeypatch.delenv("VIRTPROOF_BOCHS", raising=False)

    def test_what_to_install_is_said(self) -> None:
        with pytest.raises(ReferenceMissing, match="apt-get install bochs"):
            Bochs.find()
        with pytest.raises(ReferenceMissing, match="apt-get install qemu-system-x86"):
            Qemu.find()

    def test_a_program_that_is_no_bochs_is_a_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VIRTPROOF_BOCHS", "/bin/true")
        with pytest.raises(Fault, match="does not say its version"):
            Bochs.find()


@pytest.mark.lab
class TestBochs:
    def test_every_mode(self, bochs: Reference) -> None:
        assert verdicts(bochs, *EVERY_MODE) == [Verdict.PASS] * len(Mode)

    def test_what_is_expected_wrongly_fails_in_every_mode(self, bochs: Reference) -> None:
        wrong = [replace(case, expect=replace(case.expect, regs={"rcx": 0x4242})) for case in EVERY_MODE]
        assert verdicts(bochs, *wrong) == [Verdict.FAIL] * len(Mode)

    def test_what_takes_the_machine_down_costs_itself_only(self, bochs: Reference) -> None:
        down = row("trap.triple.idt_limit0.long64")
        lives, dies = row("trap.ud.ud2.long64"), replace(down, id="dies", expect=completes())
        assert verdicts(bochs, lives, down) == [Verdict.PASS] * 2
        assert verdicts(bochs, dies, lives) == [Verdict.CRASH, Verdict.PASS]
        assert verdicts(bochs, replace(lives, expect=down.expect)) == [Verdict.FAIL]

    def test_memory_that_is_filled(self, bochs: Reference) -> None:
        filled = row("pg.l4.2m.offset")
        assert verdicts(bochs, filled) == [Verdict.PASS]
        assert verdicts(bochs, replace(filled, fill={})) == [Verdict.FAIL]

    def test_a_feature_that_one_processor_lacks_another_has(self, bochs: Reference) -> None:
        umip = row("sens.sgdt.umip.cpl3.long64")
        assert "umip" in umip.requires
        assert verdicts(bochs, umip) == [Verdict.PASS]

    def test_every_difference_is_explained(self, bochs: Reference) -> None:
        assert explained(bochs.name, list(run_rows(bochs, CASES.values())))


@pytest.mark.lab
class TestQemu:
    def test_every_mode(self, qemu: Reference) -> None:
        right = (Mode.PROT32, Mode.PSE32, Mode.PAE32)  # elsewhere it has RF wrong, which every fault shows
        told = dict(zip(Mode, verdicts(qemu, *EVERY_MODE), strict=True))
        assert [told[mode] for mode in right] == [Verdict.PASS] * 3
        assert Verdict.SKIP not in told.values()

    def test_what_is_wrong_with_it_is_known(self, qemu: Reference) -> None:
        """One case for each thing that is."""
        about = {
            known.id: next(c for c in CASES.values() if known.is_about(c.id) and not why_not(c))
            for known in KNOWN
            if known.on == "qemu *"
        }
        assert explained(qemu.name, list(run_rows(qemu, about.values())))

    def test_what_takes_the_machine_down(self, qemu: Reference) -> None:
        assert verdicts(qemu, row("trap.triple.idt_limit0.long64")) == [Verdict.PASS]


@pytest.mark.kvm
def test_every_difference_of_kvm_is_explained(engine: KvmEngine) -> None:
    name = name_of(engine)
    if not any(fnmatchcase(name, known.on) for known in KNOWN):
        pytest.skip(f"what differs on {name} is what its host gets wrong: nobody has looked into it")
    results = {result.id: result for result in run_cases(CASES.values(), engine=engine, workers=2)}
    differing = {difference.case for difference in judge(name, list(results.values())).unexplained}
    for case in differing:  # alone: a busy machine makes guests late
        results[case] = execute(CASES[case], engine)
    assert explained(name, list(results.values()))


def explained(name: str, results: list[CaseResult]) -> bool:
    run = judge(name, results)
    assert not run.unexplained
    assert not run.stale
    assert Verdict.PASS in {result.verdict for result in results}
    return True
