"""What a judgement is made with: profile, waivers and what was recorded, named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from virtproof.cli.nearest import did_you_mean
from virtproof.results import Backend, CaseResult, CostResult, Evidence, Run
from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from virtproof.probes.profile import Profile, Waiver
    from virtproof.probes.snapshot import Snapshot

GZIP = b"\x1f\x8b"

Command = TypeVar("Command", bound=Callable[..., object])


def judge_options(command: Command) -> Command:
    """Add ``--profile``, ``--waivers`` and ``--baseline``."""
    command = click.option(
        "--baseline",
        type=click.Path(exists=True, path_type=Path),
        metavar="RUN",
        help="An earlier run (its folder, or run.json): show what changed since.",
    )(command)
    command = click.option(
        "--waivers",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="TOML file of named, reasoned, expiring exceptions.",
    )(command)
    return click.option(
        "--profile",
        default="kvm-host",
        show_default=True,
        metavar="NAME|FILE",
        help="What this use of the host requires.",
    )(command)


def profile(name: str) -> Profile:
    """Return the profile called ``name``, or the one in that TOML file.

    Raises ``click.UsageError`` with the nearest names where there is none, ``Fault`` where it cannot be read.
    """
    from virtproof.probes.profile import load_profile, profile_names

    if not _is_a_path(name) and name not in profile_names():
        known = profile_names()
        near = did_you_mean(name, known) or f"; the profiles are {', '.join(known)}"
        raise click.UsageError(f"no profile {name!r}{near}")
    if _is_a_path(name) and not Path(name).is_file():
        raise click.UsageError(f"no profile file {name}")
    return load_profile(name)


def waivers(path: Path | None) -> tuple[Waiver, ...]:
    """Return the waivers in ``path``; raises ``Fault``."""
    if path is None:
        return ()
    from virtproof.probes.profile import load_waivers

    return load_waivers(path)


def baseline(path: Path | None) -> tuple[Run, Evidence | None] | None:
    """Return the earlier run in ``path``, with its evidence where that lies beside it; raises ``Fault``."""
    if path is None:
        return None
    from virtproof.results_json import load_evidence, load_run

    run = path / "run.json" if path.is_dir() else path
    evidence = run.with_name("evidence.json.gz")
    try:
        return (
            load_run(run.read_bytes(), str(run)),
            load_evidence(evidence.read_bytes(), str(evidence)) if evidence.is_file() else None,
        )
    except OSError as err:
        remedy = "give the folder that virtproof check wrote, or its run.json"
        raise Fault(f"read the baseline {run}", err.strerror or str(err), remedy) from err


class Recorded(NamedTuple):
    """What a host said once, and what its guests saw, if any ran."""

    snapshot: Snapshot
    cases: tuple[CaseResult, ...]
    backend: Backend | None  # what they ran on; None: the host's own KVM, as the snapshot has it
    costs: tuple[CostResult, ...] = ()


def recorded(name: str) -> Recorded:
    """Return the content of a snapshot, or of an evidence.json.gz; ``-`` is standard input.  Raises ``Fault``."""
    from virtproof.probes.snapshot import checked, loads
    from virtproof.probes.snapshot_schema import MAX_BYTES
    from virtproof.results_json import load_evidence

    try:
        with sys.stdin.buffer if name == "-" else open(name, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise Fault(f"read {name}", err.strerror or str(err)) from err
    if data.startswith(GZIP):
        evidence = load_evidence(data, name)
        return Recorded(checked(evidence.snapshot), evidence.cases, evidence.backend, evidence.costs)
    return Recorded(loads(data), (), None)


def _is_a_path(name: str) -> bool:
    return "/" in name or name.endswith(".toml")
