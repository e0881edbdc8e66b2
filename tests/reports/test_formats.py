"""Every format of a report: its readers take it, what it says is what the run says, and hostile text stays text."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest
from lxml import etree
from prometheus_client.parser import text_string_to_metric_families

from virtproof.reports.csv import render_csv
from virtproof.reports.formats import FORMATS
from virtproof.reports.junit import render_junit
from virtproof.reports.markdown import escaped, render_markdown
from virtproof.reports.nfd import render_nfd
from virtproof.reports.prometheus import render_prometheus
from virtproof.reports.sarif import render_sarif
from virtproof.results import (
    CostResult,
    DiskResult,
    Evidence,
    Finding,
    Host,
    NicResult,
    Outcome,
    Run,
    Standing,
    WaiverTerms,
)

Pair = tuple[Run, Evidence]

JENKINS = Path(__file__).parent / "schemas" / "junit-10.xsd"
SARIF = Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json"


def as_json(pair: Pair) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render_sarif(*pair))
    return document


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_what_acts_or_hides_is_an_escape_in_every_format(one: Any, runs: dict[str, Pair]) -> None:
    text = one.render(*runs["hostile"]).decode("utf-8")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202e\ufffe]", text)


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_run_has_every_format(one: Any, any_run: Pair) -> None:
    run, evidence = any_run
    assert one.render(run, evidence)
    assert one.render(run, None)


def test_the_documentation_names_every_format() -> None:
    text = (Path(__file__).parents[2] / "docs/report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `--(\w+) FILE` \|", text, re.MULTILINE) == [one.name for one in FORMATS]


# JUnit


def test_jenkins_takes_the_junit_report(any_run: Pair) -> None:
    schema = etree.XMLSchema(etree.parse(JENKINS))
    for document in (render_junit(*any_run), render_junit(any_run[0])):
        schema.assertValid(etree.fromstring(document.encode(), etree.XMLParser(huge_tree=True)))


def test_two_junit_reports_merge(runs: dict[str, Pair]) -> None:
    one, other = (junitparser.JUnitXml.fromstring(render_junit(*runs[name]).encode()) for name in ("healthy", "bare"))
    both = one + other
    assert both.tests == one.tests + other.tests
    assert both.errors == one.errors + other.errors > 0
    again = junitparser.JUnitXml.fromstring(both.tostring())
    assert len(list(again)) == len(list(one)) + len(list(other))


# SARIF

TEXT = {"type": "string", "minLength": 1}
MESSAGE = {"type": "object", "required": ["text"], "additionalProperties": False, "properties": {"text": TEXT}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}


def closed(*required: str, **properties: object) -> dict[str, object]:
    return {"type": "object", "required": list(required), "additionalProperties": False, "properties": properties}


# The part of SARIF 2.1.0 that is used here, closed to everything else: a slip in a name fails.
SARIF_USED = closed(
    "version", "runs",
    **{"$schema": {"type": "string"}}, version={"const": "2.1.0"},
    runs={"type": "array", "minItems": 1, "maxItems": 1, "items": closed(
        "tool", "results",
        tool=closed("driver", driver=closed(
            "name", name=TEXT, version={"type": "string"},
            rules={"type": "array", "uniqueItems": True, "items": closed(
                "id", id=TEXT, shortDescription=MESSAGE, fullDescription=MESSAGE, help=MESSAGE,
                defaultConfiguration=closed(level=LEVEL), properties={"type": "object"})})),
        invocations={"type": "array", "items": closed(
            "executionSuccessful", executionSuccessful={"type": "boolean"}, exitCode={"type": "integer"},
            exitCodeDescription=TEXT, startTimeUtc={"type": "string", "format": "date-time"},
            toolExecutionNotifications={"type": "array", "items": closed("message", level=LEVEL, message=MESSAGE)})},
        automationDetails=closed(id={"type": "string"}), properties={"type": "object"},
        results={"type": "array", "items": closed(
            "message", message=MESSAGE, ruleId=TEXT, ruleIndex={"type": "integer", "minimum": 0}, level=LEVEL,
            kind={"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
            partialFingerprints={"type": "object", "additionalProperties": {"type": "string"}},
            suppressions={"type": "array", "items": closed(
                "kind", kind={"enum": ["inSource", "external"]}, justification={"type": "string"},
                status={"enum": ["accepted", "underReview", "rejected"]})},
            locations={"type": "array", "items": closed(
                physicalLocation=closed("artifactLocation", artifactLocation=closed(uri=TEXT),
                                        region=closed(startLine={"type": "integer", "minimum": 1})),
                logicalLocations={"type": "array", "items": closed(name=TEXT, kind=TEXT, fullyQualifiedName=TEXT)})},
            properties={"type": "object"})})},
)  # fmt: skip


def test_the_sarif_log_keeps_to_the_standard(any_run: Pair) -> None:
    document = as_json(any_run)
    jsonschema.Draft202012Validator(SARIF_USED).validate(document)
    rules = document["runs"][0]["tool"]["driver"]["rules"]
    for result in document["runs"][0]["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert (result["kind"] == "fail") is (result["level"] != "none"), "section 'level property'"


def test_the_sarif_log_is_valid_by_the_official_schema(any_run: Pair) -> None:
    schema = json.loads(SARIF.read_text(encoding="utf-8"))
    checker = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    document = as_json(any_run)
    checker.validate(document)
    document["runs"][0]["results"].append({"message": {}})
    assert not checker.is_valid(document), "the schema sees what is wrong"


def test_sarif_says_how_each_requirement_stands(runs: dict[str, Pair]) -> None:
    (log,) = as_json(runs["firmware off"])["runs"]
    found = {one["ruleId"]: one for one in log["results"]}
    assert {name: (one["kind"], one["level"]) for name, one in found.items()} == {
        "requirement/cpu.64bit": ("pass", "none"),
        "requirement/svm.usable": ("fail", "error"),
        "requirement/kvm.device": ("fail", "error"),
        "requirement/npt.usable": ("fail", "error"),
        "requirement/iommu.on": ("fail", "note"),
        "requirement/microcode.revision": ("open", "none"),
    }
    assert found["requirement/iommu.on"]["suppressions"][0]["justification"].startswith("jane@example.org")
    assert "Enter the BIOS set-up" in found["requirement/svm.usable"]["message"]["text"]
    assert (log["invocations"][0]["exitCode"], log["invocations"][0]["executionSuccessful"]) == (3, True)
    assert log["invocations"][0]["startTimeUtc"] == "2025-11-22T10:24:07Z"


def test_sarif_has_the_cases_that_came_out_wrong(runs: dict[str, Pair]) -> None:
    (log,) = as_json(runs["software backend"])["runs"]
    wrong = {one["ruleId"]: one for one in log["results"] if one["ruleId"].startswith("case/")}
    assert {name: one["level"] for name, one in wrong.items()} == {
        "case/page.ad.dirty_on_write.pae32": "error",
        "case/trap.bp.int3.long64": "error",
        "case/serial.loopback.msr.long64": "warning",
    }
    assert "PTE.D: expected 1, observed 0" in wrong["case/page.ad.dirty_on_write.pae32"]["message"]["text"]


def test_no_message_of_sarif_is_a_template_or_a_link(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    finding = Finding(
        id="x", title="{0} {1", severity="major", standing=Standing.NOT_MET, gates=True, cause_text="[a](http://b)"
    )
    text = as_json((replace(run, findings=(finding,)), evidence))["runs"][0]["results"][0]["message"]["text"]
    assert text == "{{0}} {{1: not met\n[a] (http://b)"


def test_an_unfinished_run_was_no_success(runs: dict[str, Pair]) -> None:
    assert as_json(runs["interrupted"])["runs"][0]["invocations"][0]["executionSuccessful"] is False


# CSV


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_table_has_everything(runs: dict[str, Pair]) -> None:
    run, evidence = runs["software backend"]
    rows = table(render_csv(run, evidence))
    kinds = [row["kind"] for row in rows]
    assert [kinds.count(kind) for kind in ("run", "requirement", "claim", "case", "fact")] == [
        1, len(run.findings), len(run.claims), len(evidence.cases), len(evidence.facts),
    ]  # fmt: skip
    wrong = next(row for row in rows if row["id"] == "page.ad.dirty_on_write.pae32")
    assert (wrong["result"], wrong["expected"].splitlines()[0], wrong["observed"].splitlines()[0]) == (
        "fail", "PTE.D: 1", "PTE.D: 0",
    )  # fmt: skip
    assert [row["id"] for row in table(render_csv(run)) if row["kind"] == "case"] == [case.id for case in run.failing]


def test_what_is_not_known_of_a_host_is_unknown(runs: dict[str, Pair]) -> None:
    run = runs["healthy"][0]
    known, unknown = (table(render_csv(replace(run, host=host)))[0]["evidence"] for host in (run.host, Host(cpu="X")))
    assert f"system {run.host.system}\nfirmware {run.host.bios}\n" in known
    assert "system unknown\nfirmware unknown\nprocessor X\nmicrocode unknown\n" in unknown


@pytest.mark.parametrize("attack", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "|cmd", "%x", "＝1", "\n=1", "\r=1"])
def test_no_cell_is_a_formula(runs: dict[str, Pair], attack: str) -> None:
    run, evidence = runs["healthy"]
    rows = table(render_csv(replace(run, summary=attack, findings=()), replace(evidence, facts=())))
    for row in rows:
        for cell in row.values():
            assert not cell.strip().startswith(("=", "+", "-", "@", "|", "%", "＝")), cell
    assert rows[0]["title"].lstrip("'").replace("\\r", "\r") == attack


def test_quotes_and_line_ends_stay_in_their_cell(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    attack = 'a","b\r\n"requirement","x'
    rows = table(render_csv(replace(run, summary=attack), evidence))
    assert rows[0]["title"] == attack.replace("\r", "\\r")
    assert len(rows) == 1 + len(run.findings) + len(run.claims) + len(evidence.cases) + len(evidence.facts)


# Markdown


def test_the_summary_answers_in_order(runs: dict[str, Pair]) -> None:
    text = render_markdown(runs["firmware off"][0])
    order = ["## ❌ virtproof: not compliant", "does not meet 3 of 6", "### What stands in the way", "### What to do",
             "1. Enter the BIOS", "### Host", "| System | Dell Inc", "| waived | An IOMMU is active"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert render_markdown(runs["healthy"][0]).startswith("## ✅ virtproof: compliant")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a *b* _c_ `d` ~e~ $f$", r"a \*b\* \_c\_ \`d\` \~e\~ \$f\$"),
        ("[x](http://y) ![z](q)", r"\[x\](http&#58;//y) !\[z\](q)"),
        ("<img src=x> & &amp;", "&#60;img src=x> &#38; &#38;amp;"),
        ("a | b\n# c", r"a \| b # c"),
        ("# a", r"\# a"),
        ("1. a", r"1\. a"),
        ("- a-b", r"\- a-b"),
        ("www.x.y @team :smile:", "www&#46;x.y &#64;team &#58;smile:"),
        ("back\\slash", r"back\\slash"),
        ("x" * 500, "x" * 399 + "…"),
    ],
)
def test_markdown_is_only_ours(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_no_line_of_the_summary_is_theirs(runs: dict[str, Pair]) -> None:
    run, _ = runs["hostile"]
    attack = "x\n\n# Compliant\n\n<script>|[a](b)"
    text = render_markdown(replace(run, summary=attack, counts={attack: {"pass": 1}}, not_proven=(attack,)))
    assert not re.search(r"^# |<script|(?<!\\)\[a", text, re.MULTILINE)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == 7


# Prometheus


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_prometheus_reads_every_run(any_run: Pair) -> None:
    found = samples(render_prometheus(*any_run))
    assert sum(value for _, value in found["virtproof_outcome"]) == 1
    held = [labels["outcome"] for labels, value in found["virtproof_outcome"] if value]
    assert held == [any_run[0].outcome.value]
    for family in found.values():
        assert len({tuple(sorted(labels.items())) for labels, _ in family}) == len(family), "each series once"


def test_labels_come_back_as_they_were(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    attack = 'a"} 1\nvirtproof_outcome{outcome="compliant"} 1 \\n \\'
    found = samples(render_prometheus(replace(run, profile=attack, counts={attack: {"pass": 3}}), evidence))
    assert found["virtproof_info"][0][0]["profile"] == attack
    assert found["virtproof_cases"] == [({"area": attack, "verdict": "pass"}, 3)]
    assert len(found["virtproof_outcome"]) == len(Outcome)


def test_figures_are_in_base_units(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    terms = WaiverTerms(owner="jane", reason="", expires="2026-01-01")
    run = replace(run, findings=(replace(run.findings[0], standing=Standing.WAIVED, terms=terms),))
    costs = (
        CostResult(name="cpuid", title="", samples=9, minimum=2000, median=4000, p99=8000, tsc_khz=2_000_000),
        CostResult(name="boot", title="", samples=9, minimum=1, median=2, p99=3, unit="ns"),
        CostResult(name="unknown", title="", samples=9, minimum=1, median=2, p99=3),
        CostResult(name="none", title="", reason="not measured"),
    )
    nics = (NicResult(name="rtl8139", title="", packets=100, exits=400, seconds=0.5), NicResult(name="none", title=""))
    disks = (
        DiskResult(name="ahci", title="", requests=100, size=4096, exits=300, seconds=0.5),
        DiskResult(name="none", title=""),
    )
    found = samples(render_prometheus(run, replace(evidence, costs=costs, nics=nics, disks=disks)))
    assert [labels["operation"] for labels, _ in found["virtproof_exit_cost_seconds"]] == ["cpuid"] * 3 + ["boot"] * 3
    assert found["virtproof_exit_cost_seconds"][1] == ({"operation": "cpuid", "figure": "median"}, 2e-6)
    assert found["virtproof_nic_packets_per_second"] == [({"nic": "rtl8139"}, 200)]
    assert found["virtproof_nic_exits_per_packet"] == [({"nic": "rtl8139"}, 4)]
    assert found["virtproof_disk_requests_per_second"] == [({"disk": "ahci"}, 200)]
    assert found["virtproof_disk_exits_per_request"] == [({"disk": "ahci"}, 3)]
    assert found["virtproof_start_time_seconds"] == [({}, 1763807047)]
    assert found["virtproof_waiver_expiry_time_seconds"] == [({"id": "kvm.device", "owner": "jane"}, 1767225600)]


# Node Feature Discovery

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def test_every_line_is_a_label_of_kubernetes(any_run: Pair) -> None:
    lines = render_nfd(*any_run).splitlines()
    names = [line.partition("=")[0] for line in lines]
    assert len(set(names)) == len(names)
    for line in lines:
        name, _, value = line.partition("=")
        assert LABEL.fullmatch(name)
        assert value == "" or LABEL.fullmatch(value)


def test_the_labels_say_what_guests_made_of_each_claim(runs: dict[str, Pair]) -> None:
    lines = render_nfd(*runs["firmware off"]).splitlines()
    assert "virtproof.outcome=not-compliant" in lines
    assert "virtproof.claim.npt=unproven" in lines
    assert not [line for line in lines if line.startswith("virtproof.claim.vmx")], "no feature of this processor"
    assert "virtproof.claim.nx=functional-only" in render_nfd(*runs["healthy"]).splitlines()


@pytest.mark.parametrize(
    ("started", "label"),
    [
        ("2025-11-22T10:24:07Z", "2025-11-22T10-24-07Z"),
        ("2025-11-22T10:24:07+00:00", "2025-11-22T10-24-07Z"),
        ("2025-11-22T10:24:07+02:00", "2025-11-22T08-24-07Z"),
        ("2025-11-22T10:24:07", "2025-11-22T10-24-07Z"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00-00-00-23-59"),
        ("yesterday", "yesterday"),
    ],
)
def test_a_label_has_the_time_in_utc(runs: dict[str, Pair], started: str, label: str) -> None:
    run = replace(runs["healthy"][0], started=started)
    assert f"virtproof.started={label}" in render_nfd(run).splitlines()
