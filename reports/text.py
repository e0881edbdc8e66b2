"""The report for a terminal or a pipe: lines in the order of the HTML report, coloured for a terminal."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from virtproof.reports.digest import Digest, digest
from virtproof.reports.printable import printable_values
from virtproof.results import (
    Baseline,
    CaseResult,
    ClaimResult,
    Layer,
    Outcome,
    Proof,
    Run,
    Standing,
    Technique,
    Verdict,
)

FAILING_SHOWN = 8  # cases, a line each: the verdict above shall stay on the screen; the HTML report has them all
LINE_LIMIT = 400  # characters of one host text: a terminal is no place for a dump
CHANGES_SHOWN = 20
AREA_LIMIT = 30
OUTCOMES = {Outcome.COMPLIANT: "green", Outcome.NOT_COMPLIANT: "red", Outcome.ERROR: "red"}
TITLES = {
    "What stands in the way", "Also noticed", "What to do", "Not proven", "Host and run", "Claims and proofs",
    "How guests run here", "Failing cases", "Waivers", "Known deviations", "Reports",
}  # fmt: skip


def render_text(run: Run, *, width: int = 100, files: Sequence[str] = ()) -> str:
    """The report as plain lines of at most ``width`` columns, where words allow; ``files`` are the reports written."""
    run = printable_values(run)
    return "\n".join(line.rstrip() for line in _report(run, digest(run), width, files)) + "\n"


def render_terminal(run: Run, *, width: int = 100, files: Sequence[str] = ()) -> str:
    """The same lines with the colours and weights of a terminal (ECMA-48, "Select Graphic Rendition")."""
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=1 << 16)
    with console.capture() as captured:
        for line in render_text(run, width=width, files=files).splitlines():
            # Text, not markup: nothing in a line is an instruction.
            console.print(Text(line, style=_style(line, run)), soft_wrap=True, highlight=False)
    return captured.get()


def _style(line: str, run: Run) -> str:
    """Titles start at the margin, and what a host says does not, but for the lines of the head."""
    if line.startswith(f"{run.outcome.upper()}  "):
        return f"bold {OUTCOMES.get(run.outcome, 'yellow')}"
    if line in TITLES or line.startswith(("Changed since ", "Requirements: ", "Cases")):
        return "bold"
    if line.startswith("! "):
        return "yellow"
    if found := re.match(r"  (fail|crash|error) ", line):
        return "red" if found[1] != "error" else "yellow"
    return ""


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
    yield from _section("Host and run", _identity(run), width)
    yield from _section("Claims and proofs", _claims(run.claims), width)
    yield from _section("How guests run here", map(_technique, run.techniques), width)

    standings = [finding.standing for finding in run.findings]
    yield ""
    tally = ", ".join(f"{standings.count(s)} {s}" for s in Standing if s in standings)
    yield from _wrapped(f"Requirements: {tally or 'the profile has none'}", width)
    yield from _counts(run, first)
    yield from _failing(run.failing, width)
    waived = [one for one in first.findings if one.waiver]
    yield from _section("Waivers", (f"{one.title}: {one.standing}: {one.waiver}" for one in waived), width)
    yield from _section("Known deviations", (f"{one.id}: {one.reason}" for one in run.deviations), width)
    yield from _since(run.baseline, width)
    yield from _section("Reports", files, width)


def _identity(run: Run) -> Iterator[str]:
    named = (
        ("microcode", run.host.microcode), ("runs under", run.host.hypervisor), ("boot", run.host.boot_id),
        ("guests ran on", run.backend.name), ("started", run.started), ("virtproof", run.version),
        ("profile SHA-256", _start(run.profile_sha256)), ("cases SHA-256", _start(run.cases_sha256)),
    )  # fmt: skip
    return (f"{name}: {value}" for name, value in named if value)


def _start(digest: str) -> str:
    """Enough of a hash to tell two apart; run.json has the whole."""
    return f"{digest[:16]}…" if len(digest) > 16 else digest


def _claims(claims: Iterable[ClaimResult]) -> Iterator[str]:
    """Which claims there are of each proof: a line each, what is wrong first."""
    for proof in (Proof.CONTRADICTED, Proof.REFUTED, Proof.PROVEN, Proof.FUNCTIONAL_ONLY, Proof.UNPROVEN):
        names = [one.name for one in claims if one.proof is proof and not _none_here(one)]
        if names:
            yield f"{proof}: {', '.join(names)}"


def _none_here(claim: ClaimResult) -> bool:
    """Is it about a feature that this kind of processor does not know?"""
    return claim.silicon is claim.kernel is Layer.NOT_APPLICABLE


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
