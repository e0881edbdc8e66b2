"""Rows that share a guest: the same verdicts as alone, whatever one of them does to the others."""

import os
import signal
from collections.abc import Iterable
from dataclasses import replace

import pytest

from virtproof.conformance import pool
from virtproof.conformance.batch import SIZE, Batch, can_share, execute_batch, plan
from virtproof.conformance.case import At, Elapse, Expect, HostScript, Insn, Ram, Row, completes, stops
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.execute import execute, result_of
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import CaseResult, Verdict
from virtproof.spec.cite import sdm
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmEngine

NOP, LOOP, HLT = Insn("90", "nop"), Insn("eb fe", "jmp"), Insn("f4", "hlt")
STORE = Insn("48 89 03", "mov qword ptr [rbx], rax")
DATA = At("kernel_data")


def row(id_: str, code: Insn = NOP, expect: Expect | None = None, **more: object) -> Row:
    return Row(
        id=id_, title="a rule", area="traps", mode=Mode.LONG64, cite=(sdm("1", "A"),), code=(code,),
        expect=expect or completes(), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def ids(cases: Iterable[Row | CaseResult]) -> list[str]:
    return [case.id for case in cases]


class TestPlan:
    def test_rows_of_one_mode_are_together(self) -> None:
        rows = [row("a"), replace(row("b"), mode=Mode.PROT32), row("c")]
        assert [ids(batch) for batch in plan(rows)] == [["a", "c"], ["b"]]  # type: ignore[arg-type]

    def test_a_batch_has_a_largest_size(self) -> None:
        assert list(map(len, plan(row(str(n)) for n in range(SIZE + 1)))) == [SIZE, 1]

    def test_every_case_is_planned_once(self) -> None:
        planned = [case.id for batch in plan(all_cases()) for case in batch]
        assert sorted(planned) == sorted(case.id for case in all_cases())

    @pytest.mark.parametrize(
        "own",
        [
            row("a", ram=(Ram(1 << 30, 4096),)),
            row("a", fill={DATA: 1}),
            row("a", irqchip=True),
            row("a", serial=True),
            row("a", acts=(Elapse(1),)),
            row("a", expect=stops("halt")),
        ],
    )
    def test_what_needs_a_guest_of_its_own_has_one(self, own: Row) -> None:
        assert not can_share(own)
        assert plan([row("x"), own, row("y")])[-1] == (own,)

    def test_host_scripts_are_alone(self) -> None:
        script = HostScript(
            id="s", title="t", area="a", mode=Mode.LONG64, cite=(sdm("1", "A"),), script=lambda engine: ()
        )
        assert (script,) in plan([row("x"), script, row("y")])


@pytest.mark.kvm
class TestSharing:
    @pytest.mark.parametrize(
        "bad",
        [
            row("bad", HLT),
            row("bad", LOOP),
            row("bad", expect=completes(regs={"rcx": 5})),
            row("bad", expect=completes(memory={At("no such symbol"): 1})),
        ],
        ids=["dies", "hangs", "fails", "is broken"],
    )
    def test_what_does_not_pass_is_not_settled(self, engine: KvmEngine, bad: Row) -> None:
        assert "bad" not in ids(execute_batch((row("a"), bad, row("z")), engine))

    def test_one_that_dies_or_hangs_costs_only_itself(self, engine: KvmEngine) -> None:
        rows = (row("a"), row("dies", HLT), row("b"), row("hangs", LOOP), row("c"))
        assert ids(execute_batch(rows, engine)) == ["a", "b", "c"]

    def test_one_alone_is_settled_whatever_it_does(self, engine: KvmEngine) -> None:
        (result,) = execute_batch((row("dies", HLT),), engine)
        assert result.verdict is Verdict.CRASH

    def test_a_missing_feature_skips(self, engine: KvmEngine) -> None:
        class Nothing(KvmEngine):
            def __init__(self) -> None:
                pass

            def supported_cpuid(self) -> tuple[()]:
                return ()

        results = execute_batch((row("a", requires=("smep",)), row("b", requires=("nx",))), Nothing())
        assert {result.verdict for result in results} == {Verdict.SKIP}

    def test_what_one_leaves_behind_does_not_change_anothers_verdict(self, engine: KvmEngine) -> None:
        clean = completes(memory={DATA: 0})
        rows = [row("spoils", STORE, regs={"rbx": DATA, "rax": 7}), row("looks", expect=clean), row("is fine")]
        results = {result.id: result.verdict for result in pool.run_cases(rows, engine=engine, workers=1)}
        assert results == {"spoils": Verdict.PASS, "looks": Verdict.PASS, "is fine": Verdict.PASS}

    def test_verdicts_and_checks_are_those_of_rows_alone(self, engine: KvmEngine) -> None:
        """Every row of the catalogue that a batch settles, against the same row alone."""
        compared = 0
        for batch in plan(all_cases()):
            if len(batch) == 1:
                continue
            together = {result.id: result for result in execute_batch(batch, engine)}
            for case in batch:
                if case.id in together:
                    alone = execute(case, engine)
                    assert (alone.verdict, alone.checks) == (together[case.id].verdict, together[case.id].checks)
                    compared += 1
        assert compared > 100

    def test_a_worker_killed_by_one_row_costs_no_other_row(
        self, engine: KvmEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def play(batch: Batch, engine: Engine) -> tuple[CaseResult, ...]:
            if any(case.id == "kills" for case in batch):
                os.kill(os.getpid(), signal.SIGKILL)
            return tuple(result_of(case, Verdict.PASS, "") for case in batch)

        monkeypatch.setattr(pool, "execute_batch", play)
        results = pool.run_cases([row("a"), row("kills"), row("z")], engine=engine, workers=1)
        assert {result.id: result.verdict.value for result in results} == {"a": "pass", "kills": "error", "z": "pass"}
