"""The report for a terminal or a pipe: plain lines in the order of the HTML report."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from virtproof.reports.digest import Digest, digest
from virtproof.reports.printable import printable_values
from virtproof.results import Baseline, CaseResult, Run, Standing, Technique, Verdict

FAILING_SHOWN = 8  # cases, a line each: the verdict above shall stay on the screen; the HTML report has them all
LINE_LIMIT = 400  # characters of one host text: a terminal is no place for a dump
CHANGES_SHOWN = 20
AREA_LIMIT = 30


def render_text(run: Run, *, width: int = 100, files: Sequence[str] = ()) -> str:
    """The report as plain lines of at most ``width`` columns, where words allow; ``files`` are the reports written."""
    run = printable_values(run)
    return "\n".join(line.rstrip() for line in _report(run, digest(run), width, files)) + "\n"


def _report(run: Run, first: Digest, width: int, files: Sequence[str]) -> Iterator[str]:
    yield f"{run.outcome.upper()}  profile {_on_one_line(run.profile, LINE_LIMIT)}"
    yield from _wrapped(run.summary, width)
    yield from _wrapped(
        " · ".join(filter(None, (run.host.system, run.host.cpu, run.host.bios, run.host.kernel))), width
    )
    if not run.complete:
        yield from _wrapped("This run is incomplete: what was not run is unknown.", width, "! ")
    if not run.backend.speaks_of_host:
        banner = f"Guests ran on the software engine ({run.backend.name}), an emulator: they say nothing of this host."
        yield from _wrapped(banner, width, "! ")
    elif run.backend.software:
        banner = f"Guest results describe an emulator ({run.backend.name}); hardware claims stay unproven."
        yield from _wrapped(banner, width, "! ")

    yield from _section("What stands in the way", (cause.text for cause in first.gating), width)
    yield from _section("Also noticed", (cause.text for cause in first.others), width)
    yield from _section("What to do", first.actions, width, numbered=True)
    yield from _section("Not proven", run.not_proven, width)
    yield from _section("How guests run here", map(_technique, run.techniques), width)
    yield from _since(run.baseline, width)

    standings = [finding.standing for finding in run.findings]
    yield ""
    tally = ", ".join(f"{standings.count(s)} {s}" for s in Standing if s in standings)
    yield from _wrapped(f"Requirements: {tally or 'the profile has none'}", width)
    yield from _counts(run, first)
    yield from _failing(run.failing, width)
    yield from _section("Reports", files, width)


def _section(title: str, texts: Iterable[str], width: int, *, numbered: bool = False) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        if number == 1:
            yield ""
            yield title
        yield from _wrapped(text, width, f"  {number}. " if numbered else "  - ")


def _technique(technique: Technique) -> str:
    said = f"{technique.subject}: {technique.name}"
    if technique.contradiction:
        return f"{said}. CONTRADICTION: {technique.contradiction}"
    return f"{said} ({technique.how})"


def _since(baseline: Baseline | None, width: int) -> Iterator[str]:
    """What changed: all but cases and facts first, for they explain the rest."""
    if baseline is None:
        return
    shown = baseline.changes[:CHANGES_SHOWN]
    lines = [f"{one.subject} {one.id}: {one.before or '(not there)'} -> {one.after or '(gone)'}" for one in shown]
    if more := len(baseline.changes) - len(shown) + baseline.left_out:
        lines.append(f"and {more} more changes" + ("" if baseline.left_out else "; run.json lists them"))
    lines += baseline.not_compared
    yield from _section(f"Changed since {baseline.started}", lines or ["nothing"], width)


def _counts(run: Run, first: Digest) -> Iterator[str]:
    if not run.counts:
        yield "Cases: none was run"
        return
    rows = [(_on_one_line(name, AREA_LIMIT), counts) for name, counts in run.counts.items()]
    rows.append(("all", first.verdicts))
    column = max(len(name) for name, _ in rows)
    yield ""
    yield f"{'Cases':{column + 2}}" + "".join(f"{verdict:>7}" for verdict in Verdict)
    for name, counts in rows:
        yield f"  {name:{column}}" + "".join(f"{counts.get(verdict, 0):>7}" for verdict in Verdict)


def _failing(cases: Sequence[CaseResult], width: int) -> Iterator[str]:
    if cases:
        yield ""
        yield "Failing cases"
    for case in cases[:FAILING_SHOWN]:
        yield f"  {case.verdict:<6} " + _on_one_line(f"{case.id}: {case.reason or case.title}", width - 9)
    if len(cases) > FAILING_SHOWN:
        yield f"  and {len(cases) - FAILING_SHOWN} more in the HTML report"


def _wrapped(text: str, width: int, lead: str = "") -> list[str]:
    return textwrap.wrap(
        _on_one_line(text, LINE_LIMIT),
        width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _on_one_line(text: str, limit: int) -> str:
    """No line break of a host may start a line that looks like ours."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
