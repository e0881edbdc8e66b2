"""JUnit XML for CI systems: the profile's requirements and the cases, as test cases.

What turns a CI red follows the exit code: a gating requirement that is not met is a failure of type "not met" (exit
code 3), one that could not be told is a failure of type "unknown" (exit code 5), and a run that ended in our own
error, or before its end, is an error (4, 130).  A requirement that gates nothing never turns it red: it is skipped,
and its message says how it stands.  Cases are reported as they came out: fail is a failure, crash and error are errors,
skip is skipped; a CI that shall only follow the profile looks at the suite "requirements".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from virtproof.reports.digest import digest
from virtproof.reports.printable import printable_values
from virtproof.results import CaseResult, Evidence, Finding, Outcome, Run, Standing, Verdict

if TYPE_CHECKING:
    from junit_xml import TestCase

REQUIREMENTS = "requirements"
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
LONGEST = 1e9  # seconds


def render_junit(run: Run, evidence: Evidence | None = None) -> str:
    """The XML document; without evidence it has the failing cases only."""
    from junit_xml import TestSuite, to_xml_report_string  # noqa: PLC0415 - for this one format

    run, evidence = printable_values(run), printable_values(evidence)
    by_area: dict[str, list[CaseResult]] = {}
    for case in evidence.cases if evidence else run.failing:
        by_area.setdefault(case.area, []).append(case)
    identity = {
        "virtproof": run.version,
        "profile": run.profile,
        "profile_sha256": run.profile_sha256,
        "cases_sha256": run.cases_sha256,
        "outcome": run.outcome.value,
        "backend": run.backend.name,
        "system": run.host.system,
        "cpu": run.host.cpu,
        "kernel": run.host.kernel,
    }
    requirements = [_run_case(run), *(_requirement_case(finding) for finding in digest(run).findings)]
    suites = [TestSuite(REQUIREMENTS, requirements, timestamp=_timestamp(run), properties=identity)]
    suites += [
        TestSuite(area, [_case(case) for case in found], timestamp=_timestamp(run)) for area, found in by_area.items()
    ]
    return _as_jenkins_wants_it(to_xml_report_string(suites, prettyprint=False, encoding="utf-8"))


def _as_jenkins_wants_it(document: str) -> str:
    """Times with three decimals and no exponent, and no attribute that Jenkins's junit-10.xsd does not have."""
    root = ElementTree.fromstring(document)
    for element in root.iter():
        element.attrib.pop("disabled", None)
        if "time" in element.attrib:
            element.set("time", f"{min(max(float(element.attrib['time']), 0), LONGEST):.3f}")
    return DECLARATION + ElementTree.tostring(root, encoding="unicode") + "\n"


def _timestamp(run: Run) -> str | None:
    """The schema wants a date and time without zone."""
    found = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", run.started)
    return found[0] if found else None


def _run_case(run: Run) -> TestCase:
    """The run itself: half a run must not look like a good one."""
    from junit_xml import TestCase  # noqa: PLC0415

    made = TestCase("the run is complete", classname=f"virtproof.{REQUIREMENTS}", elapsed_sec=run.seconds)
    made.stdout = _text(run.summary, *(f"not proven: {sentence}" for sentence in run.not_proven))
    if not run.complete or run.outcome in {Outcome.ERROR, Outcome.INTERRUPTED}:
        made.add_error_info(run.summary or run.outcome.value, error_type=run.outcome.value)
    return made


def _requirement_case(finding: Finding) -> TestCase:
    from junit_xml import TestCase  # noqa: PLC0415

    made = TestCase(f"{finding.id}: {finding.title}", classname=f"virtproof.{REQUIREMENTS}")
    made.stdout = _text(
        f"{finding.standing}; {finding.severity}; {'gates' if finding.gates else 'gates nothing'}",
        finding.cause_text and f"cause: {finding.cause_text}",
        finding.remedy_text and f"to do: {finding.remedy_text}",
        finding.waiver and f"waiver: {finding.waiver}",
        *finding.evidence,
        *finding.cite,
    )
    message = ": ".join(filter(None, (finding.standing.value, finding.waiver or finding.cause_text or finding.title)))
    match finding.standing:
        case Standing.MET:
            pass
        case Standing.WAIVED | Standing.NOT_APPLICABLE:
            made.add_skipped_info(message)
        case standing if finding.gates:
            made.add_failure_info(
                message, output=_text(finding.remedy_text, *finding.evidence), failure_type=standing.value
            )
        case _:
            made.add_skipped_info(f"{message} (gates nothing)")
    return made


def _case(case: CaseResult) -> TestCase:
    from junit_xml import TestCase  # noqa: PLC0415

    made = TestCase(case.id, classname=f"virtproof.{case.area}", elapsed_sec=case.seconds)
    checks = [
        f"{check.field}: {check.observed}" + ("" if check.ok else f", expected {check.expected}")
        for check in case.checks
    ]
    made.stdout = _text(f"{case.title} ({case.mode})", *checks, *case.evidence, *case.cite)
    message = case.reason or case.title or case.verdict.value
    match case.verdict:
        case Verdict.FAIL:
            made.add_failure_info(message, output=_text(*_mismatches(case)), failure_type="fail")
        case Verdict.CRASH | Verdict.ERROR:
            made.add_error_info(message, output=_text(*case.evidence), error_type=case.verdict.value)
        case Verdict.SKIP:
            made.add_skipped_info(message)
        case Verdict.PASS:
            pass
    return made


def _mismatches(case: CaseResult) -> Iterable[str]:
    return (f"{c.field}: expected {c.expected}, observed {c.observed}" for c in case.checks if not c.ok)


def _text(*lines: str) -> str:
    return "\n".join(filter(None, lines))
