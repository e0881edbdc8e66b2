"""The report for people: one HTML file without network, for who must mend the host and for who must sign.

All text of a run is hostile: it goes through ``printable_values`` and Jinja's autoescape, and the page's content
security policy allows the one script and the one style sheet that we wrote, by hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from virtproof.reports.digest import digest
from virtproof.reports.printable import printable_values
from virtproof.results import CaseResult, Evidence, FactAnswer, Proof, Run, Standing, Verdict

if TYPE_CHECKING:
    from jinja2 import Environment

# Characters of evidence lines that one report shows, of failing and of other cases: they keep 5,000 cases below
# 3 MB.  The report names the place where the rest is.
FAILING_BUDGET = 600_000
QUIET_BUDGET = 100_000
CASE_BUDGET = 16_000

# How a word is shown.  Each tone has a colour and a sign of its own; the word itself always stands beside them.
TONES = {
    "good": {"pass", "met", "yes", "proven", "compliant"},
    "bad": {"fail", "crash", "error", "not met", "no", "refuted", "contradicted", "not compliant"},
    "open": {"unknown", "unproven", "functional only", "stale waiver", "interrupted"},
    "calm": {"skip", "waived", "n/a", "not applicable"},
}
TONE = {word: tone for tone, words in TONES.items() for word in words}

FAILING = (Verdict.FAIL, Verdict.CRASH, Verdict.ERROR)
QUIET = (Verdict.SKIP, Verdict.PASS)


@dataclass(frozen=True, slots=True)
class Area:
    """The cases of one area, failing ones first."""

    name: str
    counts: dict[str, int]
    failing: tuple[CaseResult, ...]
    quiet: tuple[CaseResult, ...]  # pass and skip


def render_html(run: Run, evidence: Evidence | None = None) -> str:
    """The report as one document; without evidence it shows what run.json has: counts and failing cases."""
    run, evidence = printable_values(run), printable_values(evidence)
    cases = evidence.cases if evidence else run.failing
    page = _environment()
    script, style = (_source(page, name) for name in ("report.js", "report.css"))
    return page.get_template("report.html.j2").render(
        run=run,
        evidence=evidence,
        first=digest(run),
        areas=_areas(run, cases),
        shown=_shown(cases),
        references={cite: number for number, cite in enumerate(_cited(cases), 1)},
        known_cases={case.id for case in cases},
        met=sum(finding.standing is Standing.MET for finding in run.findings),
        judged=sum(finding.standing is not Standing.NOT_APPLICABLE for finding in run.findings),
        proven=sum(claim.proof is Proof.PROVEN for claim in run.claims),
        verdicts=tuple(verdict.value for verdict in Verdict),
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    page = Environment(
        loader=PackageLoader("virtproof.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"tone": _tone, "slug": _slug, "fact": _fact_value, "moment": _moment}
    page.tests["compact"] = _is_compact
    return page


def _source(page: Environment, name: str) -> str:
    from markupsafe import Markup  # noqa: PLC0415

    assert page.loader
    return Markup(page.loader.get_source(page, name)[0])


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _areas(run: Run, cases: Iterable[CaseResult]) -> tuple[Area, ...]:
    by_area: dict[str, list[CaseResult]] = {name: [] for name in run.counts}
    for case in cases:
        by_area.setdefault(case.area, []).append(case)
    return tuple(
        Area(
            name=name,
            counts=run.counts.get(name, {}),
            failing=_only(found, FAILING),
            quiet=_only(found, QUIET),
        )
        for name, found in by_area.items()
    )


def _only(cases: Iterable[CaseResult], verdicts: tuple[Verdict, ...]) -> tuple[CaseResult, ...]:
    chosen = [case for case in cases if case.verdict in verdicts]
    return tuple(sorted(chosen, key=lambda case: (verdicts.index(case.verdict), case.id)))


def _cited(cases: Iterable[CaseResult]) -> Iterable[str]:
    """Every citation once: many cases share one, and it is longer than they are."""
    return dict.fromkeys(cite for case in cases for cite in case.cite)


def _shown(cases: Iterable[CaseResult]) -> dict[str, tuple[str, ...]]:
    """The evidence lines to show of each case, by its id."""
    left = {True: FAILING_BUDGET, False: QUIET_BUDGET}
    shown: dict[str, tuple[str, ...]] = {}
    for case in cases:
        failing = case.verdict in FAILING
        lines = _within(case.evidence, min(left[failing], CASE_BUDGET))
        left[failing] -= sum(map(len, lines))
        shown[case.id] = lines
    return shown


def _within(lines: tuple[str, ...], budget: int) -> tuple[str, ...]:
    """The first ``lines`` that have no more than ``budget`` characters together."""
    lengths = accumulate(map(len, lines))
    return tuple(line for line, length in zip(lines, lengths, strict=True) if length <= budget)


def _tone(word: str) -> str:
    return TONE.get(word, "open")


def _slug(text: str) -> str:
    """A fragment identifier; case ids come out as they are."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)


def _fact_value(fact: FactAnswer) -> str:
    match fact.known:
        case bool():
            return "yes" if fact.known else "no"
        case int() if abs(fact.known) > 9:
            return f"{fact.known} ({fact.known:#x})"
        case _:
            return str(fact.known)


def _moment(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z") + " UTC" if re.fullmatch(r"[-\dT:.]+Z", text) else text


def _is_compact(case: CaseResult) -> bool:
    """Was everything observed to the letter as expected?  Then one column says it all."""
    return all(check.ok and check.expected == check.observed for check in case.checks)
