"""One run file, as far as a fleet needs it.  Files are hostile: whatever is wrong with one is an answer, no error."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from urllib.parse import quote

from virtproof.fleet.find import Found
from virtproof.reports.digest import SEVERITIES, digest, rank
from virtproof.reports.printable import printable
from virtproof.results import Run
from virtproof.results_compare import traits
from virtproof.results_json import load_run
from virtproof.spec.fault import Fault

LIMIT = 4 << 20  # bytes of a run.json: ours are below 200 KiB, and two are read at the same time
TEXT = 300  # characters that are kept of a text
CAUSES = 200  # that are kept of a run
TRAITS = 2000
REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that tells nothing."""

    host: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class CauseRow:
    """One thing that stands in a host's way; ``subject`` is the first requirement or claim that it stops."""

    kind: str
    subject: str
    text: str
    action: str
    gates: bool
    severity: int  # of the gravest requirement that it stops, 0 the gravest of all
    place: int  # among the causes of the run, from 0: what others follow from comes first


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run.  ``moment`` is its start in seconds since 1970, None where that cannot be read."""

    host: str
    path: str
    report: str  # the HTML report beside it, if there is one: its absolute path, quoted as in a URL
    fingerprint: str  # of the file's content
    moment: float | None
    fields: dict[str, str]  # identity and verdict; names as in FIELDS
    counts: dict[str, int]  # of cases, by verdict
    causes: tuple[CauseRow, ...]
    traits: dict[str, str]  # everything that is compared between hosts


FIELDS = (
    "outcome", "summary", "proof", "backend", "system", "bios", "cpu", "family_model_stepping", "cpus", "microcode",
    "kernel", "hypervisor", "profile", "profile_sha256", "cases_sha256", "version", "started", "complete", "boot_id",
)  # fmt: skip


def read(found: Found) -> RunRow | Refused:
    """Read one file; never raises for what is in it."""
    try:
        data = _bytes(found.path)
        run = load_run(data, found.path)
    except Fault as fault:
        return Refused(_kept(found.host), _kept(found.path), _kept(fault.saw))
    except OSError as err:
        return Refused(_kept(found.host), _kept(found.path), err.strerror or str(err))
    report = os.path.join(os.path.dirname(found.path), REPORT)
    first = digest(run)
    return RunRow(
        host=_kept(found.host),
        path=_kept(found.path),
        report=quote(os.fsencode(os.path.abspath(report))) if os.path.isfile(report) else "",
        fingerprint=blake2b(data, digest_size=16).hexdigest(),
        moment=_moment(run.started),
        fields={name: _kept(text) for name, text in _fields(run).items()},
        counts={verdict: max(number, 0) for verdict, number in first.verdicts.items()},
        causes=tuple(
            CauseRow(
                _kept(one.kind),
                _kept(one.affects[0]),
                _kept(one.text),
                _kept(one.action),
                one.gates,
                min(map(rank, one.findings), default=len(SEVERITIES)),
                place,
            )
            for place, one in enumerate(first.causes[:CAUSES])
        ),
        traits={_kept(name): _kept(text) for name, text in [*traits(run).items()][:TRAITS]},
    )


def _kept(text: str) -> str:
    """Text of a run as it is kept: one line of bounded length, harmless to show."""
    return printable(text[: TEXT + 1].replace("\n", r"\n").replace("\t", r"\t"), TEXT)


def _bytes(path: str) -> bytes:
    """The content of a regular file of bounded size; raises Fault or OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise Fault(f"read {path}", f"larger than {LIMIT >> 20} MiB")
    return data


def _fields(run: Run) -> dict[str, str]:
    host = run.host
    return {
        "outcome": str(run.outcome), "summary": run.summary, "proof": _proof(run), "backend": run.backend.name,
        "system": host.system, "bios": host.bios, "cpu": host.cpu,
        "family_model_stepping": host.family_model_stepping, "cpus": str(host.cpus), "microcode": host.microcode,
        "kernel": host.kernel, "hypervisor": host.hypervisor, "profile": run.profile,
        "profile_sha256": run.profile_sha256, "cases_sha256": run.cases_sha256, "version": run.version,
        "started": run.started, "complete": "yes" if run.complete else "no", "boot_id": host.boot_id,
    }  # fmt: skip


def _proof(run: Run) -> str:
    """What the guests of a run can prove about its host.  Those of an emulator prove nothing."""
    if not any(sum(counts.values()) for counts in run.counts.values()):
        return "no guest ran"
    if not run.backend.speaks_of_host:
        return "software engine"
    return {True: "software KVM", False: "hardware", None: "could not tell"}[run.backend.software]


def _moment(started: str) -> float | None:
    try:
        moment = datetime.fromisoformat(started)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
