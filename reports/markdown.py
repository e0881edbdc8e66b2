"""A Markdown summary (GitHub Flavored) for the page of a CI job: the first screen of the HTML report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from virtproof.reports.digest import OPEN, Digest, digest
from virtproof.reports.printable import printable_values
from virtproof.results import Evidence, Run, Standing, Verdict

FAILING_SHOWN = 20
ROWS_SHOWN = 60  # of a table: GitHub cuts a summary at 1 MiB
SIGNS = {"compliant": "✅", "not compliant": "❌", "error": "❌"}
LINE_LIMIT = 400

# GFM: a backslash takes the meaning from ASCII punctuation; entities keep HTML, autolinks and mentions away.
_MARKUP = re.compile(r"[\\`*_{}\[\]|~$]|^[-+#=>]")
_NUMBER = re.compile(r"^(\d+)([.)])")
_ENTITIES = re.compile(r"[&<@]|:(?=//|[\w+-]+:)|(?<=www)\.", re.IGNORECASE)


def render_markdown(run: Run, evidence: Evidence | None = None) -> str:
    """The summary; it is made from the run alone."""
    run = printable_values(run)
    return "\n".join(_lines(run, digest(run))) + "\n"


def escaped(text: str) -> str:
    """``text`` on one line, shown as it is: no markup, no HTML, no link, no mention.

    >>> escaped("a *b* <c>")
    'a \\\\*b\\\\* &#60;c>'
    """
    text = " ".join(text.split())
    text = text if len(text) <= LINE_LIMIT else text[: LINE_LIMIT - 1] + "…"
    text = _NUMBER.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", text))
    return _ENTITIES.sub(lambda found: f"&#{ord(found[0])};", text)


def _lines(run: Run, first: Digest) -> Iterator[str]:
    yield f"## {SIGNS.get(run.outcome, '❔')} virtproof: {run.outcome}, profile {escaped(run.profile)}"
    yield ""
    yield escaped(run.summary)
    if not run.complete:
        yield from ("", "> **This run is incomplete**: what was not run is unknown.")
    backend = escaped(run.backend.name)
    if not run.backend.speaks_of_host:
        yield from ("", f"> Guests ran on the software engine ({backend}): nothing is said of this host.")
    elif run.backend.software:
        yield from ("", f"> Guest results describe an emulator ({backend}); hardware claims stay unproven.")
    yield from _list("What stands in the way", (cause.text for cause in first.gating), "- ")
    yield from _list("What to do", first.actions, "1. ")
    yield from _table("Host", ("", ""), _identity(run))
    yield from _table(
        "Requirements that are open or waived",
        ("Standing", "Requirement", "Severity", "Cause or waiver"),
        (
            (
                one.standing,
                one.title,
                one.severity + ("" if one.gates else ", reported only"),
                one.waiver or one.cause_text,
            )
            for one in first.findings
            if one.standing in OPEN | {Standing.WAIVED}
        ),
    )
    verdicts = tuple(verdict.value for verdict in Verdict)
    rows = [(area, *(str(counts.get(verdict, 0)) for verdict in verdicts)) for area, counts in run.counts.items()]
    rows += [("all", *(str(first.verdicts[verdict]) for verdict in verdicts))] if rows else []
    yield from _table("Cases", ("Area", *verdicts), rows)
    failing = [(case.verdict, case.id, case.reason or case.title) for case in run.failing[:FAILING_SHOWN]]
    yield from _table("Failing cases", ("Verdict", "Case", "Why"), failing)
    if more := len(run.failing) - len(failing):
        yield from ("", f"and {more} more in the HTML report")
    if run.baseline:
        changes = [(c.subject, c.id, c.before or "was not there", c.after or "is gone") for c in run.baseline.changes]
        changes = changes or [("nothing", "", "", "")]
        yield from _table(f"Changed since {run.baseline.started}", ("What", "Id", "Before", "Now"), changes)


def _identity(run: Run) -> Iterable[tuple[str, str]]:
    host = run.host
    return (
        (name, value)
        for name, value in (
            ("System", host.system), ("Processor", host.cpu), ("Microcode", host.microcode), ("Firmware", host.bios),
            ("Kernel", host.kernel), ("Guests ran on", run.backend.name), ("virtproof", run.version),
            ("Started", run.started), ("Boot id", host.boot_id), ("Profile SHA-256", run.profile_sha256),
            ("Cases SHA-256", run.cases_sha256),
        )
        if value
    )  # fmt: skip


def _list(title: str, texts: Iterable[str], mark: str) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number == 0:
            yield from ("", f"### {title}", "")
        yield mark + escaped(text)


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        return
    yield from ("", f"### {escaped(title)}", "")
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows[:ROWS_SHOWN]:
        yield f"| {' | '.join(map(escaped, row))} |"
    if len(rows) > ROWS_SHOWN:
        yield from ("", f"and {len(rows) - ROWS_SHOWN} more in the HTML report")
