"""One CSV table (RFC 4180) of requirements, claims, cases and facts, for spreadsheets and databases."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from virtproof.reports.digest import digest
from virtproof.reports.printable import printable_values
from virtproof.results import Evidence, FactAnswer, Run

COLUMNS = (
    "kind", "id", "title", "area", "severity", "gates", "result", "reason", "remedy", "expected", "observed",
    "evidence", "cite", "waiver",
)  # fmt: skip
FORMULA = tuple("=+-@|%\t＝＋－＠")  # what a spreadsheet may take as the start of a formula or of a command


def render_csv(run: Run, evidence: Evidence | None = None) -> str:
    """The table; without evidence it has the failing cases only, and no facts."""
    run, evidence = printable_values(run), printable_values(evidence)
    file = io.StringIO()
    table = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for row in _rows(run, evidence):
        table.writerow([_cell(row.get(column, "")) for column in COLUMNS])
    return file.getvalue()


def _cell(text: str) -> str:
    """Text that no spreadsheet calculates: what looks like a formula starts with an apostrophe."""
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def _rows(run: Run, evidence: Evidence | None) -> Iterator[dict[str, str]]:
    host = run.host
    identity = {
        "virtproof": run.version, "started": run.started, "system": host.system, "firmware": host.bios,
        "processor": host.cpu, "microcode": host.microcode, "kernel": host.kernel, "boot": host.boot_id,
        "backend": run.backend.name, "profile SHA-256": run.profile_sha256, "cases SHA-256": run.cases_sha256,
    }  # fmt: skip
    yield {"kind": "run", "id": run.profile, "title": run.summary, "result": run.outcome.value,
           "evidence": _lines([f"{name} {text or 'unknown'}" for name, text in identity.items()])}  # fmt: skip
    for one in digest(run).findings:
        yield {"kind": "requirement", "id": one.id, "title": one.title, "severity": one.severity,
               "gates": "yes" if one.gates else "no", "result": one.standing.value, "reason": one.cause_text,
               "remedy": one.remedy_text, "expected": one.asks, "evidence": _lines(one.evidence),
               "cite": _lines(one.cite), "waiver": one.waiver}  # fmt: skip
    for claim in run.claims:
        layers = (f"{name} {getattr(claim, name)}" for name in ("silicon", "firmware", "kernel", "functional"))
        yield {"kind": "claim", "id": claim.name, "title": claim.title, "result": claim.proof.value,
               "reason": claim.cause_text or claim.proof_reason, "remedy": claim.remedy_text,
               "observed": ", ".join(layers), "evidence": _lines((*claim.evidence, *claim.proof_cases)),
               "cite": _lines(claim.cite)}  # fmt: skip
    for case in evidence.cases if evidence else run.failing:
        wrong = [check for check in case.checks if not check.ok]
        yield {"kind": "case", "id": case.id, "title": f"{case.title} ({case.mode})", "area": case.area,
               "result": case.verdict.value, "reason": case.reason,
               "expected": _lines([f"{check.field}: {check.expected}" for check in wrong]),
               "observed": _lines([f"{check.field}: {check.observed}" for check in wrong]),
               "evidence": _lines(case.evidence), "cite": _lines(case.cite)}  # fmt: skip
    for fact in evidence.facts if evidence else ():
        yield {"kind": "fact", "id": fact.id, "title": fact.meaning, "result": _known(fact),
               "reason": fact.unknown or "", "evidence": _lines((fact.source, fact.raw))}  # fmt: skip


def _known(fact: FactAnswer) -> str:
    if fact.unknown is not None:
        return "unknown"
    return {True: "yes", False: "no"}[fact.known] if isinstance(fact.known, bool) else str(fact.known)


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(filter(None, texts))
