"""All runs of a fleet in one temporary SQLite database: more than memory should hold, and sets to be compared.

Texts that many runs share (what a requirement says, the name of a BIOS) are stored once, under a number made from
their hash.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from itertools import chain, islice
from multiprocessing import get_context

from virtproof.fleet.find import Found
from virtproof.fleet.read import FIELDS, Refused, RunRow, read

BATCH = 16  # files that a worker reads at a time
NOW, BEFORE = 0, 1  # sides: this fleet, and the baseline

SCHEMA = f"""
CREATE TABLE text (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE run (
    id INTEGER PRIMARY KEY, side INTEGER NOT NULL, host TEXT NOT NULL, path TEXT NOT NULL, report TEXT NOT NULL,
    fingerprint TEXT NOT NULL, moment REAL, current INTEGER NOT NULL DEFAULT 0,
    pass INTEGER, fail INTEGER, crash INTEGER, skip INTEGER, error INTEGER,
    {", ".join(f"{name} TEXT NOT NULL" for name in FIELDS)}
);
CREATE TABLE cause (
    run INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, text INTEGER NOT NULL, action INTEGER NOT NULL,
    gates INTEGER NOT NULL, severity INTEGER NOT NULL, place INTEGER NOT NULL
);
CREATE TABLE trait (run INTEGER NOT NULL, name INTEGER NOT NULL, value INTEGER NOT NULL);
CREATE TABLE refused (side INTEGER NOT NULL, host TEXT NOT NULL, path TEXT NOT NULL, why TEXT NOT NULL);
"""
COLUMNS = ("side", "host", "path", "report", "fingerprint", "moment", "pass", "fail", "crash", "skip", "error", *FIELDS)
INSERT = f"INSERT INTO run ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


class Store:
    """The database; a context manager that removes it."""

    def __init__(self) -> None:
        # An empty name is a private file on disk that SQLite deletes when it is closed.
        self.db = sqlite3.connect("", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = OFF")
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute("PRAGMA cache_size = -65536")  # KiB
        self.db.executescript(SCHEMA)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def add(self, found: Iterable[Found], side: int = NOW, *, workers: int = 0) -> None:
        """Read the files and take in what they say; ``workers``: processes that read, 0 for one per CPU."""
        self.db.execute("BEGIN")
        for row in read_all(found, workers or len(os.sched_getaffinity(0))):
            if isinstance(row, Refused):
                self.db.execute("INSERT INTO refused VALUES (?, ?, ?, ?)", (side, row.host, row.path, row.why))
            else:
                self._add_run(row, side)
        self._choose_current(side)
        self.db.execute("COMMIT")

    def _add_run(self, row: RunRow, side: int) -> None:
        counts = [min(row.counts[verdict], 2**31) for verdict in ("pass", "fail", "crash", "skip", "error")]
        identity = (side, row.host, row.path, row.report, row.fingerprint, row.moment)
        run = self.db.execute(INSERT, (*identity, *counts, *(row.fields[name] for name in FIELDS))).lastrowid
        self.db.executemany(
            "INSERT INTO cause VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (run, one.kind, one.subject, number(one.text), number(one.action), one.gates, one.severity, one.place)
                for one in row.causes
            ],
        )
        self.db.executemany(
            "INSERT INTO trait VALUES (?, ?, ?)",
            [(run, number(name), number(value)) for name, value in row.traits.items()],
        )
        texts = {*row.traits, *row.traits.values(), *(t for one in row.causes for t in (one.text, one.action))}
        self.db.executemany("INSERT OR IGNORE INTO text VALUES (?, ?)", [(number(text), text) for text in texts])

    def _choose_current(self, side: int) -> None:
        """Of several runs of one host the latest counts; where its clock says nothing, the last by name."""
        self.db.execute(
            """UPDATE run SET current = 1 WHERE id IN (SELECT id FROM (
                   SELECT id, row_number() OVER (PARTITION BY host ORDER BY moment DESC NULLS LAST, path DESC) AS place
                   FROM run WHERE side = ?) WHERE place = 1)""",
            (side,),
        )


def number(text: str) -> int:
    """The number that a text is stored under: 63 bits of its hash."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def read_all(found: Iterable[Found], workers: int) -> Iterator[RunRow | Refused]:
    """Read files in their order, in ``workers`` processes where there are many; only a few results wait at a time."""
    files = iter(found)
    first = [*islice(files, BATCH)]
    if len(first) < BATCH or workers == 1:
        yield from map(read, chain(first, files))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        waiting = deque([pool.submit(_read_batch, first)])
        while waiting:
            while len(waiting) < 4 * workers and (batch := [*islice(files, BATCH)]):
                waiting.append(pool.submit(_read_batch, batch))
            yield from waiting.popleft().result()


def _read_batch(batch: list[Found]) -> list[RunRow | Refused]:
    return [*map(read, batch)]
