"""SARIF 2.1.0 for code-scanning services: requirements and failing cases, as results.

Document: OASIS Static Analysis Results Interchange Format (SARIF) Version 2.1.0, "File format".  A result of kind
"fail" has a level; waived ones carry a suppression; what could not be told is of kind "open".  A host has no source
files, so every result points to run.json, and names host and finding as logical locations.
"""

from __future__ import annotations

import hashlib
import json
import re

from virtproof.reports.digest import digest
from virtproof.reports.printable import printable_values
from virtproof.results import CaseResult, Evidence, Finding, Outcome, Run, Standing, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"critical": "error", "major": "error", "minor": "warning", "info": "note"}
KINDS = {
    Standing.MET: "pass",
    Standing.NOT_MET: "fail",
    Standing.UNKNOWN: "open",
    Standing.NOT_APPLICABLE: "notApplicable",
    Standing.WAIVED: "fail",
    Standing.STALE_WAIVER: "review",
}
CASES = {Verdict.FAIL: "error", Verdict.CRASH: "error", Verdict.ERROR: "warning"}

Object = dict[str, object]


def render_sarif(run: Run, evidence: Evidence | None = None) -> str:
    """The log file; without evidence it has the failing cases that run.json lists."""
    run, evidence = printable_values(run), printable_values(evidence)
    findings = digest(run).findings
    failing = [case for case in (evidence.cases if evidence else run.failing) if case.verdict in CASES]
    rules = {**{f"requirement/{one.id}": _requirement(one) for one in findings},
             **{f"case/{case.id}": _rule(case) for case in failing}}  # fmt: skip
    numbers = {name: number for number, name in enumerate(rules)}
    results = [*(_finding(one, run) for one in findings), *(_case(case, run) for case in failing)]
    for result in results:
        result["ruleIndex"] = numbers[str(result["ruleId"])]
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "virtproof", "version": run.version, "rules": list(rules.values())}},
                "invocations": [_invocation(run)],
                "automationDetails": {"id": f"virtproof/{run.profile}/"},
                "results": results,
                "properties": {
                    "outcome": run.outcome.value,
                    "summary": run.summary,
                    "profile": run.profile,
                    "profile_sha256": run.profile_sha256,
                    "cases_sha256": run.cases_sha256,
                    "host": {name: getattr(run.host, name) for name in run.host.__slots__},
                    "backend": run.backend.name,
                },
            }
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _text(*lines: str) -> Object:
    """A plain text message.  Braces would be placeholders and ``[text](target)`` a link: neither is meant."""
    text = "\n".join(filter(None, lines)) or "(nothing was said)"
    return {"text": text.replace("{", "{{").replace("}", "}}").replace("](", "] (")}


def _requirement(finding: Finding) -> Object:
    return {
        "id": f"requirement/{finding.id}",
        "shortDescription": _text(finding.title),
        "fullDescription": _text(finding.title, finding.asks),
        "help": _text(finding.remedy_text, *finding.cite),
        "defaultConfiguration": {"level": LEVELS.get(finding.severity, "note") if finding.gates else "note"},
        "properties": {"severity": finding.severity, "gates": finding.gates},
    }


def _rule(case: CaseResult) -> Object:
    return {
        "id": f"case/{case.id}",
        "shortDescription": _text(case.title),
        "help": _text(*case.cite),
        "defaultConfiguration": {"level": CASES[case.verdict]},
        "properties": {"area": case.area, "mode": case.mode, "priority": case.priority},
    }


def _finding(finding: Finding, run: Run) -> Object:
    kind = KINDS[finding.standing]
    level = LEVELS.get(finding.severity, "note") if finding.gates else "note"
    made: Object = {
        "ruleId": f"requirement/{finding.id}",
        "kind": kind,
        "level": level if kind == "fail" else "none",
        "message": _text(f"{finding.title}: {finding.standing}", finding.cause_text, finding.remedy_text),
        "locations": [_location(run, f"requirement/{finding.id}")],
        "partialFingerprints": _fingerprint(f"requirement/{finding.id}"),
        "properties": {"standing": finding.standing.value, "evidence": list(finding.evidence)},
    }
    if finding.standing is Standing.WAIVED:
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": finding.waiver}]
    return made


def _case(case: CaseResult, run: Run) -> Object:
    differs = (f"{c.field}: expected {c.expected}, observed {c.observed}" for c in case.checks if not c.ok)
    return {
        "ruleId": f"case/{case.id}",
        "kind": "fail",
        "level": CASES[case.verdict],
        "message": _text(f"{case.title}: {case.verdict}", case.reason, *differs),
        "locations": [_location(run, f"case/{case.id}")],
        "partialFingerprints": _fingerprint(f"case/{case.id}"),
        "properties": {"verdict": case.verdict.value, "evidence": list(case.evidence)},
    }


def _fingerprint(name: str) -> Object:
    """The same finding on the same host is the same alert, whatever it says this time."""
    return {"virtproof/v1": hashlib.sha256(name.encode()).hexdigest()}


def _location(run: Run, name: str) -> Object:
    host = run.host.system or run.host.cpu or "host"
    return {
        "physicalLocation": {"artifactLocation": {"uri": "run.json"}, "region": {"startLine": 1}},
        "logicalLocations": [{"name": host, "kind": "resource", "fullyQualifiedName": f"{host}/{name}"}],
    }


def _invocation(run: Run) -> Object:
    made: Object = {
        "executionSuccessful": run.complete and run.outcome not in {Outcome.ERROR, Outcome.INTERRUPTED},
        "exitCode": run.outcome.exit_code,
        "exitCodeDescription": run.outcome.value,
        "toolExecutionNotifications": [{"level": "note", "message": _text(one)} for one in run.not_proven],
    }
    if found := re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?=Z|\+00:00|\.)", run.started, re.ASCII):
        made["startTimeUtc"] = f"{found[0]}Z"
    return made
