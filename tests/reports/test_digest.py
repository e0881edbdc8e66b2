"""What is said first, and that runs survive their files."""

from __future__ import annotations

from dataclasses import replace

from virtproof.reports.digest import digest
from virtproof.reports.printable import printable, printable_values
from virtproof.results import Evidence, Finding, Run, Standing
from virtproof.results_json import dump_evidence, dump_run, load_evidence, load_run

Pair = tuple[Run, Evidence]


def test_every_run_comes_back_from_its_files(any_run: Pair) -> None:
    run, evidence = any_run
    assert load_run(dump_run(run)) == run
    assert load_evidence(dump_evidence(evidence)) == evidence


def test_one_cause_is_told_once_with_all_it_affects(runs: dict[str, Pair]) -> None:
    first = digest(runs["firmware off"][0])

    (firmware,) = first.gating
    assert firmware.text.startswith("SVM is present in silicon")
    assert firmware.affects == (
        "AMD-V (SVM) can be used",
        "/dev/kvm can be used",
        "Nested paging can be used",
        "AMD-V (SVM)",
        "Nested paging (NPT)",
    )
    (microcode,) = first.others
    assert microcode.text.startswith("The microcode revision could not be read")
    assert [action.split()[0] for action in first.actions] == ["Enter", "modprobe"]


def test_a_waived_or_met_requirement_is_no_cause(runs: dict[str, Pair]) -> None:
    run, _ = runs["healthy"]
    closed = [
        replace(run.findings[0], id=standing, standing=standing, cause="c", cause_text="C", remedy_text="R")
        for standing in (Standing.MET, Standing.WAIVED, Standing.NOT_APPLICABLE)
    ]
    first = digest(replace(run, findings=tuple(closed)))
    assert (first.causes, first.actions) == ((), ())


def test_what_needs_attention_comes_first(runs: dict[str, Pair]) -> None:
    def made(name: str, standing: Standing, severity: str = "major", gates: bool = True) -> Finding:
        return Finding(id=name, title=name, severity=severity, standing=standing, gates=gates)

    findings = (
        made("met", Standing.MET),
        made("minor", Standing.NOT_MET, "minor"),
        made("reported", Standing.NOT_MET, "critical", gates=False),
        made("unknown", Standing.UNKNOWN),
        made("odd", Standing.NOT_MET, "whatever"),
        made("critical", Standing.NOT_MET, "critical"),
    )
    run = replace(runs["healthy"][0], findings=findings)
    assert [f.id for f in digest(run).findings] == ["critical", "minor", "odd", "reported", "unknown", "met"]


def test_an_interrupted_run_says_what_to_do(runs: dict[str, Pair]) -> None:
    assert digest(runs["interrupted"][0]).actions == ("Run virtproof check again and let it finish.",)


def test_printable() -> None:
    assert printable("Ä\tb\nc 🙂") == "Ä\tb\nc 🙂"
    assert printable("\x00\x1b\x7f\x85\r\u202e\u2066\ufeff\uffff\udfff") == (
        r"\x00\x1b\x7f\x85\r\u202e\u2066\ufeff\uffff\udfff"
    )
    assert printable("abcdef", limit=4) == "abcd… (2 more characters)"


def test_every_text_of_a_run_is_made_printable(runs: dict[str, Pair]) -> None:
    run, _ = runs["hostile"]
    assert "\\u0000" in dump_run(run)
    assert "\\u0000" not in dump_run(printable_values(run)).replace("\\\\", "")
