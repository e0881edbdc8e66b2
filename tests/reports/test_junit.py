"""The JUnit report: every reader takes it, and red means what the exit code means."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import junitparser
import pytest

from virtproof.reports.junit import render_junit
from virtproof.results import Evidence, Finding, Outcome, Run, Standing

Pair = tuple[Run, Evidence]


def states(xml: str) -> dict[str, list[tuple[str, str | None]]]:
    """Test case -> its results as (tag, type)."""
    return {
        case.attrib["name"]: [(e.tag, e.get("type")) for e in case if e.tag in {"failure", "error", "skipped"}]
        for case in ET.fromstring(xml).iter("testcase")
    }


def test_every_reader_takes_it(any_run: Pair) -> None:
    run, evidence = any_run
    xml = render_junit(run, evidence)
    tree = ET.fromstring(xml.encode("utf-8"))
    read = junitparser.JUnitXml.fromstring(xml.encode("utf-8"))

    assert len(list(tree.iter("testcase"))) == 1 + len(run.findings) + len(evidence.cases)
    assert sum(suite.tests for suite in read) == 1 + len(run.findings) + len(evidence.cases)
    assert next(suite.get("name") for suite in tree) == "requirements"


def test_hostile_text_stays_text(runs: dict[str, Pair]) -> None:
    tree = ET.fromstring(render_junit(*runs["hostile"]).encode("utf-8"))
    name = next(case.attrib["name"] for case in tree.iter("testcase") if "7*7" in case.attrib["name"])

    assert "<script>alert(1)</script> ]]> &" in name
    assert r"\x00 \x1b[31mred\x1b[0m \ud800 \u202eevil \ufffe" in name
    assert "… (1044480 more characters)" in "".join(tree.itertext())


def test_cases_come_out_as_they_are(runs: dict[str, Pair]) -> None:
    found = states(render_junit(*runs["software backend"]))

    assert found["page.ad.dirty_on_write.pae32"] == [("failure", "fail")]
    assert found["trap.bp.int3.long64"] == [("error", "crash")]
    assert found["serial.loopback.msr.long64"] == [("error", "error")]
    assert found["page.la57.walk.long64"] == [("skipped", "skipped")]
    assert found["trap.de.div_zero.long64"] == []


@pytest.mark.parametrize(
    ("standing", "gates", "expected"),
    [
        (Standing.MET, True, []),
        (Standing.MET, False, []),
        (Standing.NOT_MET, True, [("failure", "not met")]),
        (Standing.NOT_MET, False, [("skipped", "skipped")]),
        (Standing.UNKNOWN, True, [("failure", "unknown")]),
        (Standing.UNKNOWN, False, [("skipped", "skipped")]),
        (Standing.STALE_WAIVER, True, [("failure", "stale waiver")]),
        (Standing.STALE_WAIVER, False, [("skipped", "skipped")]),
        (Standing.WAIVED, True, [("skipped", "skipped")]),
        (Standing.NOT_APPLICABLE, True, [("skipped", "skipped")]),
    ],
)
def test_requirements(
    runs: dict[str, Pair], standing: Standing, gates: bool, expected: list[tuple[str, str | None]]
) -> None:
    finding = Finding(id="a", title="A", severity="major", standing=standing, gates=gates)
    run, evidence = runs["healthy"]
    found = states(render_junit(replace(run, findings=(finding,)), evidence))

    assert found["a: A"] == expected
    assert found["the run is complete"] == []


def test_a_waiver_says_who_why_and_until_when(runs: dict[str, Pair]) -> None:
    tree = ET.fromstring(render_junit(*runs["firmware off"]))
    messages = [e.attrib["message"] for e in tree.iter("skipped")]
    assert "waived: jane@example.org, no device passthrough in this pool, until 2026-03-31" in messages


@pytest.mark.parametrize(
    "changes",
    [
        {"complete": False, "outcome": Outcome.INTERRUPTED},
        {"complete": True, "outcome": Outcome.ERROR},
        {"complete": False, "outcome": Outcome.COMPLIANT, "summary": ""},
    ],
)
def test_half_a_run_is_red(runs: dict[str, Pair], changes: dict[str, object]) -> None:
    run, evidence = runs["healthy"]
    tree = ET.fromstring(render_junit(replace(run, **changes), evidence))  # type: ignore[arg-type]
    assert tree.get("errors") == "1"


def test_mismatches_and_citations_are_there(runs: dict[str, Pair]) -> None:
    tree = ET.fromstring(render_junit(*runs["software backend"]))
    case = next(c for c in tree.iter("testcase") if c.attrib["name"] == "page.ad.dirty_on_write.pae32")

    assert case.findtext("failure") == (
        "PTE.D: expected 1, observed 0\nPTE: expected 0x8000000000200063, observed 0x8000000000200023"
    )
    output = case.findtext("system-out") or ""
    assert "PTE.D: 0, expected 1" in output
    assert "Intel SDM vol. 3A" in output


def test_without_evidence_the_failing_cases_are_there(runs: dict[str, Pair]) -> None:
    run, _ = runs["software backend"]
    found = states(render_junit(run))
    assert len(found) == 1 + len(run.findings) + len(run.failing)
