"""A feature file for Kubernetes Node Feature Discovery: labels by which pods choose their hosts.

Document: Node Feature Discovery, "Customization guide: Local feature source"; Kubernetes, "Labels and Selectors:
Syntax and character set".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from virtproof.results import Evidence, Layer, Run

LONGEST = 63  # characters of a label's name, and of its value


def render_nfd(run: Run, evidence: Evidence | None = None) -> str:
    """The feature file, made from the run alone: the verdict, the profile, and what guests made of each claim."""
    labels = {
        "virtproof.outcome": run.outcome.value,
        "virtproof.complete": "true" if run.complete else "false",
        "virtproof.profile": run.profile,
        "virtproof.version": run.version,
        "virtproof.backend": run.backend.name,
        "virtproof.started": _utc(run.started),
    }
    for claim in run.claims:
        if not claim.silicon is claim.kernel is Layer.NOT_APPLICABLE:
            labels[f"virtproof.claim.{claim.name}"] = claim.proof.value
    made = {_label(name): _label(value) for name, value in labels.items()}
    return "".join(f"{name}={value}\n" for name, value in made.items())


def _utc(started: str) -> str:
    """A time in UTC, whose offset needs no sign: a label has no ``+``, and would tell the time of another zone."""
    try:
        moment = datetime.fromisoformat(started)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
        return moment.strftime("%Y-%m-%dT%H-%M-%SZ")
    except (ValueError, OverflowError):
        return started


def _label(text: str) -> str:
    """``text`` as Kubernetes allows it: letters, digits, ``-``, ``_``, ``.``; a letter or digit at both ends."""
    text = re.sub(r"[^A-Za-z0-9_.]+", "-", text)[:LONGEST]
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", text)
