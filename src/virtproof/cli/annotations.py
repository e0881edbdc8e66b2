"""The reasons of a gate in the form of a CI system, which shows them beside a change.

GitHub Actions: "Workflow commands for GitHub Actions" ('Setting an error message').  GitLab CI: "Code Quality"
('Code Quality report format').  Text of a host is hostile: it must not become a command to the runner.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256

from virtproof.cli.gate import Level, Reason
from virtproof.cli.screen import printable

GITLAB_FILE = "gl-code-quality-report.json"
PER_LEVEL = 10  # GitHub shows no more of a step
TEXT = 2000  # characters
GITLAB_SEVERITY = {"critical": "critical", "major": "major", "minor": "minor", "info": "info"}


def github(reasons: Sequence[Reason]) -> Iterator[str]:
    """Workflow commands, one for each reason.

    >>> next(github([Reason(Level.ERROR, "svm:off", "100%\\n::add-mask::x")]))
    '::error title=virtproof svm%3Aoff::100%25%0A::add-mask::x'
    """
    seen: Counter[Level] = Counter()
    for reason in reasons:
        seen[reason.level] += 1
        if seen[reason.level] <= PER_LEVEL:
            text = reason.text + (f"\nTo do: {reason.remedy}" if reason.remedy else "")
            yield f"::{reason.level} title={_property(f'virtproof {reason.id}')}::{_data(text)}"


def _data(text: str) -> str:
    text = printable(text[:TEXT])
    return _unmarked(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _unmarked(text: str) -> str:
    """The runner's older commands, ``##[...]``, count anywhere in a line."""
    return text.replace("##[", "## [")


def without_commands(text: str) -> str:
    """``text`` for the log of a GitHub job: no line of it starts with ``::``, which the runner would obey."""
    return _unmarked(re.sub(r"^(\s*):(?=:)", r"\1 : ", text, flags=re.MULTILINE))


def json_without_commands(text: str) -> str:
    """The same for a JSON document, which keeps its meaning; its lines start with its own signs."""
    return text.replace("##[", r"#\u0023[")


def gitlab(reasons: Sequence[Reason], profile: str) -> str:
    """A code quality report; ``profile`` is the path that GitLab shows each reason at.

    Fingerprints depend on what is wrong and not on the run, so that GitLab can tell new from old.
    """
    issues = [
        {
            "description": printable(f"{reason.text[:TEXT]}" + (f" To do: {reason.remedy}" if reason.remedy else "")),
            "check_name": printable(reason.id[:TEXT]),
            "fingerprint": sha256(f"{profile}\0{reason.level}\0{reason.id}".encode(errors="replace")).hexdigest(),
            "severity": "info" if reason.level is Level.NOTICE else GITLAB_SEVERITY.get(reason.severity, "info"),
            "location": {"path": profile, "lines": {"begin": 1}},
        }
        for reason in reasons
    ]
    return json.dumps(issues, indent=1) + "\n"
