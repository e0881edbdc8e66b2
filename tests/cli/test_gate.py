"""The gate: its exit code, its reasons on standard error, and their form for two CI systems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from virtproof.cli.annotations import (
    PER_LEVEL,
    github,
    gitlab,
    json_without_commands,
    without_commands,
)
from virtproof.cli.app import run
from virtproof.cli.gate import LINES, Condition, Level, Reason, gate, lines
from virtproof.conformance.case import Case
from virtproof.results import (
    Backend,
    CaseResult,
    Evidence,
    Finding,
    Host,
    Outcome,
    Run,
    Standing,
    Verdict,
)
from virtproof.results_compare import Recorded

if TYPE_CHECKING:
    from tests.cli.conftest import Guests

HOSTILE = "x\n::add-mask::y\r\n::error::z ##[add-path]/tmp \x1b[2J\u202e %0A,:"


def finding(name: str, standing: Standing, *, gates: bool = True) -> Finding:
    return Finding(
        id=name, title=f"the title of {name}", severity="critical", standing=standing, gates=gates,
        cause_text=f"the cause of {name}", remedy_text=f"mend {name}", waiver=f"{name}: owner, reason, 2027-01-01",
    )  # fmt: skip


def case(name: str, verdict: Verdict) -> CaseResult:
    return CaseResult(id=name, area="traps", title="", mode="long64", cite=(), verdict=verdict)


def recorded(
    outcome: Outcome, findings: Sequence[Finding] = (), cases: Sequence[CaseResult] = ()
) -> tuple[Run, Evidence]:
    made = Run(
        version="1", started="2026-05-01T00:00:00+00:00", seconds=1.0, complete=True, outcome=outcome,
        summary="the summary", host=Host(), backend=Backend(engine="kvm", name="kvm_intel", software=False),
        profile="kvm-host", profile_sha256="", cases_sha256="", findings=tuple(findings),
    )  # fmt: skip
    return made, Evidence(snapshot={}, facts=(), cases=tuple(cases))


GOOD = recorded(Outcome.COMPLIANT, [finding("a", Standing.MET)], [case("c", Verdict.PASS), case("d", Verdict.FAIL)])
PROFILE, BASELINE = [Condition.PROFILE], [Condition.BASELINE]


@pytest.mark.parametrize("outcome", Outcome)
def test_by_the_profile_the_exit_code_is_that_of_the_verdict(outcome: Outcome) -> None:
    assert gate(*recorded(outcome), PROFILE, None).exit_code == outcome.exit_code


def test_reasons_by_the_profile() -> None:
    findings = [
        finding("met", Standing.MET),
        finding("waived", Standing.WAIVED),
        finding("unknown", Standing.UNKNOWN),
        finding("broken", Standing.NOT_MET),
        finding("harmless", Standing.NOT_MET, gates=False),
        finding("stale", Standing.STALE_WAIVER, gates=False),
    ]
    state = gate(*recorded(Outcome.NOT_COMPLIANT, findings), PROFILE, None)
    assert [(one.level, one.id) for one in state.reasons] == [
        (Level.ERROR, "broken"),
        (Level.WARNING, "unknown"),
        (Level.NOTICE, "waived"),
        (Level.NOTICE, "stale"),
    ]
    said = [*lines(state)]
    assert said[-1] == "virtproof: gate closed (exit code 3)"
    assert said[-2] == (
        "virtproof: error: broken: not met: the title of broken: the cause of broken (to do: mend broken)"
    )
    assert "owner, reason, 2027-01-01" in said[0]


SAME = recorded(Outcome.NOT_COMPLIANT, GOOD[0].findings, GOOD[1].cases)


@pytest.mark.parametrize(
    ("after", "code", "reasons"),
    [
        (SAME, 0, []),
        (recorded(Outcome.COMPLIANT, [finding("a", Standing.NOT_MET)], GOOD[1].cases), 3, ["finding a"]),
        (recorded(Outcome.COMPLIANT, [finding("a", Standing.UNKNOWN)], GOOD[1].cases), 5, ["finding a"]),
        (recorded(Outcome.COMPLIANT, GOOD[0].findings, [case("c", Verdict.FAIL)]), 3, ["case c", "baseline"]),
        (recorded(Outcome.COMPLIANT, GOOD[0].findings, [case("c", Verdict.SKIP)]), 3, ["case c", "baseline"]),
        (recorded(Outcome.COMPLIANT, GOOD[0].findings, [case("c", Verdict.ERROR)]), 5, ["case c", "baseline"]),
        (recorded(Outcome.COMPLIANT, GOOD[0].findings, [case("d", Verdict.CRASH)]), 0, ["baseline"]),
        (recorded(Outcome.COMPLIANT, [], [*GOOD[1].cases, case("new", Verdict.FAIL)]), 0, ["baseline"]),
        (recorded(Outcome.ERROR, GOOD[0].findings, GOOD[1].cases), 4, ["run"]),
        (recorded(Outcome.INTERRUPTED, [finding("a", Standing.NOT_MET)], GOOD[1].cases), 130, ["run", "finding a"]),
    ],
)  # fmt: skip
def test_by_the_baseline_only_what_got_worse_counts(after: tuple[Run, Evidence], code: int, reasons: list[str]) -> None:
    state = gate(*after, BASELINE, GOOD)
    assert (state.exit_code, [one.id for one in state.reasons]) == (code, reasons)


def test_a_baseline_that_cannot_be_compared_is_unknown_and_not_open() -> None:
    without: Recorded = (GOOD[0], None)
    state = gate(*SAME, BASELINE, without)
    assert state.exit_code == 5
    assert "evidence.json.gz" in state.reasons[0].text


def test_guests_of_the_software_engine_are_not_compared_with_those_of_a_host() -> None:
    elsewhere = replace(GOOD[0], backend=Backend(engine="software", name="unicorn", software=True))
    after = recorded(Outcome.COMPLIANT, GOOD[0].findings, [case("c", Verdict.FAIL), case("d", Verdict.FAIL)])
    state = gate(*after, BASELINE, (elsewhere, GOOD[1]))
    assert state.exit_code == 5
    assert [one.id for one in state.reasons] == ["baseline"]
    assert "unicorn" in state.reasons[0].text


def test_both_conditions_together_take_the_stronger_code() -> None:
    worse = recorded(Outcome.UNKNOWN, [finding("a", Standing.UNKNOWN)], [case("c", Verdict.FAIL)])
    assert gate(*worse, [*PROFILE, *BASELINE], GOOD).exit_code == 3


def test_a_thousand_reasons_stay_readable() -> None:
    many = [finding(f"f{number}", Standing.NOT_MET) for number in range(1000)]
    said = [*lines(gate(*recorded(Outcome.NOT_COMPLIANT, many), PROFILE, None))]
    assert len(said) == LINES + 2
    assert said[0] == f"virtproof: and {1000 - LINES} more reasons; run.json and report.html have all of them"


def obeyed(text: str) -> list[str]:
    """What a runner of GitHub takes for commands: lines that start with ``::`` after blanks, or have ``##[``."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]


def test_hostile_text_becomes_no_command_of_github() -> None:
    text = "\n".join(github([Reason(Level.ERROR, HOSTILE, HOSTILE, HOSTILE)]))
    assert obeyed(text) == [text], "one command, and that is ours"
    assert text.startswith("::error title=virtproof x%0A%3A%3Aadd-mask%3A%3Ay")
    title = text.partition("title=")[2].partition("::")[0]
    assert not {",", ":"} & set(title)
    assert "%250A" in text, "a percent sign of the host is not ours"
    assert "\x1b" not in text


def test_hostile_text_in_the_log_becomes_no_command_of_github() -> None:
    assert obeyed(HOSTILE)
    assert not obeyed(without_commands(HOSTILE))
    assert not obeyed(without_commands("a\n  ::stop-commands::x\n::::"))
    assert without_commands("a: b::c") == "a: b::c"
    document = json.dumps({"x": HOSTILE}, indent=1)
    assert not obeyed(json_without_commands(document))
    assert json.loads(json_without_commands(document)) == {"x": HOSTILE}


def test_no_more_annotations_than_github_shows() -> None:
    reasons = [Reason(level, str(number), "text") for level in Level for number in range(PER_LEVEL + 3)]
    assert len([*github(reasons)]) == PER_LEVEL * len(Level)


def test_a_code_quality_report_of_gitlab() -> None:
    reasons = [Reason(Level.ERROR, "a", HOSTILE, "mend", "critical"), Reason(Level.NOTICE, "b", "waived", "", "major")]
    issues = json.loads(gitlab(reasons, "profiles/ours.toml"))
    for issue in issues:
        assert issue.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert issue["location"] == {"path": "profiles/ours.toml", "lines": {"begin": 1}}
        assert "\x1b" not in issue["description"]
    assert [issue["severity"] for issue in issues] == ["critical", "info"]
    again = json.loads(gitlab([replace(reasons[0], text="other words", remedy="")], "profiles/ours.toml"))
    assert again[0]["fingerprint"] == issues[0]["fingerprint"] != issues[1]["fingerprint"]


def test_check_with_a_gate(
    guests: Guests, some: tuple[Case, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [case.id for case in some]
    plain = run(["check", "--out", str(tmp_path / "main"), *arguments])
    capsys.readouterr()
    assert run(["check", "--gate", "profile", "--out", str(tmp_path / "again"), *arguments]) == plain
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"(exit code {plain})")

    guests.verdicts = {some[0].id: Verdict.CRASH}
    out = tmp_path / "new"
    gated = ["check", "--gate", "baseline", "--baseline", str(tmp_path / "main"), "--out", str(out), *arguments]
    assert run([*gated, "--annotate", "gitlab"]) == 3
    assert f"error: case {some[0].id}: worse than in the run of" in capsys.readouterr().err
    issues = json.loads((out / "gl-code-quality-report.json").read_text())
    assert f"case {some[0].id}" in [issue["check_name"] for issue in issues]

    assert run([*gated, "--annotate", "github", "--json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["outcome"]
    assert not obeyed(said.out)
    assert f"::error title=virtproof case {some[0].id}::worse" in said.err
    assert all(line.startswith(("::error title=virtproof ", "::notice title=virtproof ")) for line in obeyed(said.err))

    guests.verdicts = {}
    assert run(gated) == 0
    assert "gate open (exit code 0)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--annotate", "github"], ["--gate", "baseline"], ["--gate", "nothing"]])
def test_half_a_gate_is_wrong_usage(guests: Guests, tmp_path: Path, arguments: list[str]) -> None:
    assert run(["check", "--out", str(tmp_path / "out"), *arguments]) == 64
    assert guests.ran == []
