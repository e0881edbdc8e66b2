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

from virtproof.reports.charts import cost_chart, disk_rows, nic_rows
from virtproof.reports.details import pack
from virtproof.reports.digest import digest
from virtproof.reports.printable import printable_values
from virtproof.results import CaseResult, ClaimResult, Evidence, FactAnswer, Layer, Proof, Run, Standing, Verdict

if TYPE_CHECKING:
    from jinja2 import Environment

# Failing cases are in the page as markup, the first few open, up to so many characters of evidence: they can be read
# where no script runs.  All others are packed, and shown by the script.
FAILING_BUDGET = 100_000
CASE_BUDGET = 16_000
OPEN = 40

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
    areas = _areas(run, cases)
    references = {cite: number for number, cite in enumerate(_cited(cases), 1)}
    shown = _shown(areas)
    packed = [case for area in areas for case in (*area.failing, *area.quiet) if id(case) not in shown]
    silent = _by_reason(evidence.facts) if evidence else {}
    page = _environment()
    script = _source(page, "inflate.js") + _source(page, "report.js")
    style = _source(page, "page.css") + _source(page, "report.css")
    return page.get_template("report.html.j2").render(
        run=run,
        evidence=evidence,
        first=digest(run),
        areas=areas,
        shown=shown,
        opened=set(list(shown)[:OPEN]),
        references=references,
        details=pack(packed, references) if packed else "",
        known_cases={case.id for case in cases},
        claims=[claim for claim in run.claims if not _is_foreign(claim)],
        foreign=[claim for claim in run.claims if _is_foreign(claim)],
        claimed={claim.name for claim in run.claims},
        facts={fact.id: fact for fact in evidence.facts} if evidence else {},
        silent={reason: facts for reason, facts in silent.items() if len(facts) > 1},
        silent_alone=[facts[0] for facts in silent.values() if len(facts) == 1],
        costs=cost_chart(evidence.costs) if evidence else None,
        nics=nic_rows(evidence.nics) if evidence else (),
        disks=disk_rows(evidence.disks) if evidence else (),
        without_disk=[disk for disk in evidence.disks if disk.requests <= 0] if evidence else [],
        without_nic=[nic for nic in evidence.nics if nic.packets <= 0] if evidence else [],
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
    page.filters |= {"tone": _tone, "slug": _slug, "fact": _fact_value, "moment": _moment, "grouped": _grouped}
    page.filters |= {"sentence": sentence, "breakable": _breakable}
    page.tests |= {"compact": _is_compact, "derived": _is_derived}
    page.globals["identity"] = id
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


def _shown(areas: Iterable[Area]) -> dict[int, tuple[str, ...]]:
    """The evidence lines of each case that is in the page as markup, by its identity: ids may come twice."""
    left = FAILING_BUDGET
    shown: dict[int, tuple[str, ...]] = {}
    for case in (case for area in areas for case in area.failing):
        lines = _within(case.evidence, min(left, CASE_BUDGET))
        left -= sum(map(len, lines)) + sum(len(c.expected) + len(c.observed) for c in case.checks)
        if left < 0:
            break
        shown[id(case)] = lines
    return shown


def _by_reason(facts: Iterable[FactAnswer]) -> dict[str, list[FactAnswer]]:
    """The facts that nobody knows, by why; the reason of most comes first."""
    found: dict[str, list[FactAnswer]] = {}
    for fact in facts:
        if fact.unknown is not None:
            found.setdefault(fact.unknown, []).append(fact)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


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


def sentence(text: str) -> str:
    """A text that begins with a word in small letters, as a sentence; names such as kvm_amd or x2APIC stay."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+(-[a-z]+)*[ ,:]", text) else text


def _breakable(name: str) -> str:
    """A name that may break behind its underscores."""
    from markupsafe import Markup  # noqa: PLC0415

    return Markup("_<wbr>").join(name.split("_"))


def _grouped(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _moment(text: str) -> str:
    found = re.fullmatch(r"([-\d]+)T([\d:.]+)(?:Z|\+00:00)", text)
    return f"{found[1]} {found[2]} UTC" if found else text


def _is_foreign(claim: ClaimResult) -> bool:
    """Is it about a feature that this kind of processor does not know?"""
    return claim.silicon is claim.kernel is claim.functional is Layer.NOT_APPLICABLE


def _is_derived(claim: ClaimResult) -> bool:
    return bool(claim.evidence or claim.cite or claim.proof_cases)


def _is_compact(case: CaseResult) -> bool:
    """Was everything observed to the letter as expected?  Then one column says it all."""
    return all(check.ok and check.expected == check.observed for check in case.checks)
