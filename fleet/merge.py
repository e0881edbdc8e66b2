"""Runs and rolls become one fleet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from virtproof import __version__
from virtproof.fleet import roll
from virtproof.fleet.compare import drift, outliers
from virtproof.fleet.document import Fleet, FleetCause, Group, HostRow, Refusal, Variant
from virtproof.fleet.find import find
from virtproof.fleet.roll import Attempt, State
from virtproof.fleet.store import BEFORE, NOW, Store
from virtproof.reports.printable import printable
from virtproof.results import Outcome, Verdict
from virtproof.spec.fault import Fault

NO_RUN = ("unreachable", "failed", "unreadable")
VERDICTS = ("not compliant", "error", "unknown", "interrupted", *NO_RUN, "compliant")  # what needs attention first
GROUPS = ("system", "bios", "cpu", "microcode", "kernel", "backend", "hypervisor", "profile", "version")
GROUP_LIMIT = 500
CAUSE_LIMIT = 2000
VARIANTS = 10
REFUSED = 1000
SKEW = timedelta(minutes=5)
OLDEST = datetime(2020, 1, 1, tzinfo=UTC)  # a clock that says less was never set


def merge(places: Sequence[Path], *, baseline: Path | None = None, now: datetime, workers: int = 0) -> Fleet:
    """Read every run below ``places`` and say what they say together.

    Broken files are told, and stop nothing.  Raises Fault where a place does not exist or nothing at all is there.
    """
    attempts, notes = _attempts(places)
    with Store() as store:
        store.add(find(places), NOW, workers=workers)
        if baseline:
            store.add(find([baseline]), BEFORE, workers=workers)
        refused = [Refusal(host=h, path=p, why=w) for h, p, w in store.db.execute(REFUSED_FILES, (NOW,))]
        causes, of_run = _causes(store)
        hosts = [*_rows(store, of_run, attempts, now)]
        hosts += _without_run({one.host for one in hosts}, attempts, refused)
        if not hosts:
            raise Fault("read runs", "there is no run.json", "name run.json files, or folders of them")
        hosts.sort(key=lambda one: (VERDICTS.index(one.verdict), one.host))
        (all_runs,) = store.db.execute("SELECT count(*) FROM run WHERE side = ?", (NOW,)).fetchone()
        with_run = sum(one.verdict not in NO_RUN for one in hosts)
        return Fleet(
            version=__version__,
            made=now.isoformat(timespec="seconds"),
            verdicts=_count((one.verdict for one in hosts), VERDICTS),
            proofs=dict(Counter(one.proof for one in hosts if one.proof).most_common()),
            causes=causes,
            groups={name: _groups(name, hosts, causes) for name in GROUPS},
            outliers=outliers(store),
            drift=drift(store) if baseline else None,
            refused=tuple(refused[:REFUSED]),
            refused_left_out=max(len(refused) - REFUSED, 0),
            superseded=all_runs - with_run,
            notes=(*notes, *_mixtures(hosts)),
            hosts=tuple(hosts),
        )


REFUSED_FILES = "SELECT host, path, why FROM refused WHERE side = ? ORDER BY path"


def _attempts(places: Iterable[Path]) -> tuple[dict[str, Attempt], list[str]]:
    """What the rolls in the folders named say of each host; a roll that cannot be read is a note."""
    known: dict[str, Attempt] = {}
    notes = []
    for place in places:
        path = place / roll.FILE
        if not path.is_file():
            continue
        try:
            read = roll.load(path)
        except Fault as fault:
            notes.append(printable(f"{path}: {fault.saw}: which hosts were asked is not known."))
            continue
        except OSError as err:
            notes.append(printable(f"{path}: {err.strerror}: which hosts were asked is not known."))
            continue
        if not read.complete:
            notes.append(printable(f"{path}: the fleet run ended before its end; some hosts were not asked."))
        known |= {printable(one.host): one for one in read.hosts}
    return known, notes


def _causes(store: Store) -> tuple[tuple[FleetCause, ...], dict[int, tuple[int, ...]]]:
    """The causes, worst first, and which of them each run has."""
    found = []
    rows = store.db.execute(
        """SELECT kind, subject, text.value, max(action.value), max(gates), count(DISTINCT run) AS hosts
           FROM cause JOIN run ON run.id = cause.run AND run.side = ? AND run.current = 1
           JOIN text ON text.id = cause.text JOIN text AS action ON action.id = cause.action
           GROUP BY kind, subject, cause.text ORDER BY kind, subject, hosts DESC, text.value""",
        (NOW,),
    )
    totals = {
        (kind, subject): (hosts, severity, place)
        for kind, subject, hosts, severity, place in store.db.execute(
            """SELECT kind, subject, count(DISTINCT run), min(severity), avg(place)
               FROM cause JOIN run ON run.id = cause.run AND run.side = ? AND run.current = 1 GROUP BY kind, subject""",
            (NOW,),
        )
    }
    for key, lines in groupby(rows, key=itemgetter(0, 1)):
        wordings = [*lines]
        _, _, text, action, *_ = wordings[0]
        variants = tuple(Variant(text=row[2], hosts=row[5]) for row in wordings[:VARIANTS])
        found.append(
            FleetCause(
                kind=key[0],
                subject=key[1],
                text=text,
                action=action,
                gates=any(row[4] for row in wordings),
                hosts=totals[key][0],
                variants=variants if len(wordings) > 1 else (),
            )
        )
    # Of those that as many hosts have, in the order of the runs: what follows from another one comes after it.
    found.sort(key=lambda c: (not c.gates, -c.hosts, *totals[c.kind, c.subject][1:], c.kind, c.subject))
    causes = tuple(found[:CAUSE_LIMIT])
    numbers = {(one.kind, one.subject): number for number, one in enumerate(causes)}
    of_run: dict[int, list[int]] = defaultdict(list)
    for run, kind, subject in store.db.execute("SELECT DISTINCT run, kind, subject FROM cause"):
        if (kind, subject) in numbers:
            of_run[run].append(numbers[kind, subject])
    return causes, {run: tuple(sorted(have)) for run, have in of_run.items()}


COPIED: tuple[str, ...] = (
    "host", "summary", "proof", "system", "bios", "cpu", "cpus", "microcode", "kernel", "hypervisor", "backend",
    "profile", "version", "started", "report",
)  # fmt: skip


def _rows(
    store: Store, of_run: dict[int, tuple[int, ...]], attempts: dict[str, Attempt], now: datetime
) -> Iterator[HostRow]:
    names = ("id", "outcome", "path", "complete", "moment", *(verdict.value for verdict in Verdict))
    columns = (*names, *COPIED)
    doubles = _doubles(store)
    for values in store.db.execute(f"SELECT {', '.join(columns)} FROM run WHERE side = ? AND current = 1", (NOW,)):
        row = dict(zip(columns, values, strict=True))
        attempt = attempts.get(row["host"])
        notes = [*_clock(row["moment"], attempt, now)]
        if row["complete"] == "no":
            notes.append("The run was interrupted.")
        if attempt and attempt.detail:
            notes.append(printable(attempt.detail))
        if attempt and attempt.state in {State.UNREACHABLE, State.FAILED}:
            notes.append(f"This is an earlier run: the host was {attempt.state} at {printable(attempt.ended)}.")
        notes += doubles.get(row["id"], ())
        yield HostRow(
            verdict=row["outcome"],
            counts={verdict.value: row[verdict.value] for verdict in Verdict if row[verdict.value]},
            causes=of_run.get(row["id"], ()),
            notes=tuple(notes),
            run=row["path"],
            **{name: row[name] for name in COPIED},
        )


def _clock(moment: float | None, attempt: Attempt | None, now: datetime) -> Iterator[str]:
    """What is wrong with the time of a run: two runs of one host are put in order by it."""
    if moment is None:
        yield "When it was run cannot be read."
        return
    if moment > (now + SKEW).timestamp():
        yield "The run is from the future: the host's clock is wrong."
    elif moment < OLDEST.timestamp():
        yield "The host's clock was never set."
    elif attempt:
        with suppress(ValueError, TypeError, OverflowError):
            begun, ended = datetime.fromisoformat(attempt.begun), datetime.fromisoformat(attempt.ended)
            if not (begun - SKEW).timestamp() <= moment <= (ended + SKEW).timestamp():
                seconds = round(moment - begun.timestamp())
                yield f"The host's clock differs from that of who asked it by about {seconds} s."


def _doubles(store: Store) -> dict[int, list[str]]:
    """Runs that two names share: one of them is a copy."""
    notes: dict[int, list[str]] = defaultdict(list)
    for column, what in (("fingerprint", "The same file"), ("boot_id", "A run of the same boot of one machine")):
        rows = store.db.execute(
            f"""SELECT {column}, id, host FROM run WHERE side = ? AND current = 1 AND {column} IN (
                    SELECT {column} FROM run WHERE side = ? AND current = 1 AND {column} != ''
                    GROUP BY {column} HAVING count(*) > 1)
                ORDER BY {column}, host""",
            (NOW, NOW),
        )
        for _, lines in groupby(rows, key=itemgetter(0)):
            same = [(run, host) for _, run, host in lines]
            for run, host in same:
                if not notes[run]:
                    other = next(name for _, name in same if name != host)
                    notes[run].append(f"{what} is there as {other}, too.")
    return notes


def _without_run(known: set[str], attempts: dict[str, Attempt], refused: Iterable[Refusal]) -> Iterator[HostRow]:
    """Rows for hosts that were asked, or of which there is a file, and that have no run."""
    unreadable = {one.host: one.why for one in refused}
    for host in sorted((attempts.keys() | unreadable.keys()) - known):
        attempt = attempts.get(host)
        if attempt and attempt.state in {State.UNREACHABLE, State.FAILED}:
            verdict, why = str(attempt.state), printable(attempt.detail)
        elif host in unreadable:
            verdict, why = "unreadable", f"Its run.json: {unreadable[host]}"
        else:
            verdict, why = "failed", "A run was made there, and is not here."
        yield HostRow(host=host, verdict=verdict, summary=why, proof="", counts={})


def _groups(name: str, hosts: Iterable[HostRow], causes: Sequence[FleetCause]) -> tuple[Group, ...]:
    """Hosts by what they have in common, the largest group first."""
    members: dict[str, list[HostRow]] = defaultdict(list)
    for one in hosts:
        if one.verdict not in NO_RUN:
            members[getattr(one, name)].append(one)
    groups = []
    for value, same in members.items():
        common = Counter(number for one in same for number in one.causes if causes[number].gates)
        groups.append(
            Group(
                value=value,
                hosts=len(same),
                verdicts=_count((one.verdict for one in same), VERDICTS),
                cause=min(common, key=lambda number: (-common[number], number)) if common else None,
            )
        )
    groups.sort(key=lambda group: (-group.hosts, group.value))
    return tuple(groups[:GROUP_LIMIT])


def _mixtures(hosts: Sequence[HostRow]) -> Iterator[str]:
    """What keeps the hosts of a fleet from being compared."""
    proofs = Counter(one.proof for one in hosts if one.proof)
    emulated = proofs["software engine"] + proofs["software KVM"]
    if emulated:
        yield f"Guests of {_hosts(emulated)} ran on an emulator: they prove nothing about the hardware there."
    if bare := proofs["no guest ran"]:
        yield f"No guest ran on {_hosts(bare)}: what is claimed there is not proven."
    for field, what in (("profile", "profiles"), ("version", "versions of virtproof")):
        values = Counter(getattr(one, field) for one in hosts if getattr(one, field))
        if len(values) > 1:
            named = ", ".join(f"{value} ({number})" for value, number in values.most_common(5))
            yield f"The hosts were judged by {len(values)} {what}: {named}."
    if doubtful := sum(any("clock" in note for note in one.notes) for one in hosts):
        yield f"The clock of {_hosts(doubtful)} is wrong: so may be which of several runs there is the latest."


def _hosts(number: int) -> str:
    return f"{number} host{'s' * (number != 1)}"


def _count(words: Iterable[str], order: Sequence[str]) -> dict[str, int]:
    counted = Counter(words)
    return {word: counted[word] for word in order if counted[word]}


assert {*VERDICTS} == {*Outcome, *NO_RUN}
