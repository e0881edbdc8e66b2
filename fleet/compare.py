"""Hosts against their own group, and against the fleet as it was."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

from virtproof.fleet.document import Difference, Drift, Moved, Outlier
from virtproof.fleet.store import BEFORE, NOW, Store

COMMON = 0.75  # of a group must agree for the rest to be outliers; so it has four hosts or more
DIFFERENCES = 20  # listed of one host
OUTLIERS = 10_000
MOVED = 500
NAMES = 1000  # of hosts that came or went
HOSTS = "SELECT host FROM run WHERE side = ? AND current = 1"

# Those of a group agree in what makes the group; verdicts follow from the rest.
MAKES_GROUP = ("host system", "host cpu", "host vendor", "verdict")


def outliers(store: Store) -> tuple[Outlier, ...]:
    """The hosts that differ from what most hosts of the same model and processor have, the oddest first."""
    db = store.db
    db.executescript(
        f"""
        DROP TABLE IF EXISTS temp.member;
        CREATE TEMP TABLE member (run INTEGER PRIMARY KEY, grp INTEGER);
        INSERT INTO member
            SELECT id, first_value(id) OVER (PARTITION BY system, cpu ORDER BY id) FROM run
            WHERE side = {NOW} AND current = 1 AND (system != '' OR cpu != '');
        DROP TABLE IF EXISTS temp.size;
        CREATE TEMP TABLE size AS SELECT grp, count(*) AS hosts FROM member GROUP BY grp;
        DROP TABLE IF EXISTS temp.common;
        CREATE TEMP TABLE common AS
            SELECT grp, name, value, hosts FROM (
                SELECT grp, name, value, count(*) AS holders, size.hosts AS hosts
                FROM member JOIN size USING (grp) JOIN trait USING (run) GROUP BY grp, name, value)
            WHERE holders >= {COMMON} * hosts AND holders < hosts;
        CREATE UNIQUE INDEX temp.common_key ON common (grp, name);
        """
    )
    rows = db.execute(
        """SELECT run.host, run.system, run.cpu, common.hosts, name.value, mine.value, theirs.value
           FROM trait
           JOIN member USING (run)
           JOIN common ON common.grp = member.grp AND common.name = trait.name AND common.value != trait.value
           JOIN run ON run.id = trait.run
           JOIN text AS name ON name.id = trait.name
           JOIN text AS mine ON mine.id = trait.value
           JOIN text AS theirs ON theirs.id = common.value
           ORDER BY run.host, name.value"""
    )
    found = []
    for host, lines in groupby(rows, key=itemgetter(0)):
        same = [*lines]
        system, cpu, size = same[0][1:4]
        differences = [Difference(name=n, here=h, there=t) for *_, n, h, t in same if n not in MAKES_GROUP]
        if differences:
            group = " · ".join(filter(None, (system, cpu)))
            listed, left = tuple(differences[:DIFFERENCES]), max(len(differences) - DIFFERENCES, 0)
            found.append(Outlier(host=host, group=group, size=size, differences=listed, left_out=left))
    found.sort(key=lambda one: -len(one.differences) - one.left_out)
    return tuple(found[:OUTLIERS])


def drift(store: Store) -> Drift:
    """What changed since the baseline, host by host; the verdict first, then what most hosts went through."""
    db = store.db
    now, before = ({host for (host,) in db.execute(HOSTS, (side,))} for side in (NOW, BEFORE))
    db.executescript(
        f"""
        DROP TABLE IF EXISTS temp.pair;
        CREATE TEMP TABLE pair AS
            SELECT new.id AS run, old.id AS was, new.host AS host FROM run AS new JOIN run AS old USING (host)
            WHERE new.side = {NOW} AND old.side = {BEFORE} AND new.current = 1 AND old.current = 1;
        CREATE UNIQUE INDEX temp.pair_run ON pair (run);
        CREATE UNIQUE INDEX temp.pair_was ON pair (was);
        DROP TABLE IF EXISTS temp.old_trait;
        CREATE TEMP TABLE old_trait (run INTEGER, name INTEGER, value INTEGER, PRIMARY KEY (run, name)) WITHOUT ROWID;
        INSERT OR IGNORE INTO old_trait
            SELECT pair.run, trait.name, trait.value FROM trait JOIN pair ON pair.was = trait.run;
        DROP TABLE IF EXISTS temp.change;
        CREATE TEMP TABLE change AS
            SELECT pair.host, trait.name, old_trait.value AS before, trait.value AS after
            FROM trait JOIN pair USING (run) LEFT JOIN old_trait USING (run, name)
            WHERE old_trait.value IS NOT trait.value;
        """
    )
    (changed,) = db.execute("SELECT count(DISTINCT host) FROM change").fetchone()
    (kinds,) = db.execute("SELECT count(*) FROM (SELECT 1 FROM change GROUP BY name, before, after)").fetchone()
    moved = db.execute(
        """SELECT name.value AS what, coalesce(old.value, ''), new.value, count(*) AS hosts, min(host)
           FROM change
           JOIN text AS name ON name.id = change.name
           LEFT JOIN text AS old ON old.id = change.before
           JOIN text AS new ON new.id = change.after
           GROUP BY change.name, change.before, change.after
           ORDER BY what != 'verdict', hosts DESC, what LIMIT ?""",
        (MOVED,),
    )
    return Drift(
        compared=len(now & before),
        changed=changed,
        new=tuple(sorted(now - before)[:NAMES]),
        gone=tuple(sorted(before - now)[:NAMES]),
        moved=tuple(Moved(name=n, before=b, after=a, hosts=h, example=e) for n, b, a, h, e in moved),
        left_out=max(kinds - MOVED, 0),
    )
