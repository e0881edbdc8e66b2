"""Every fact about a bit of CPUID or an MSR against the position that the fact catalogue gives, on real processors.

The catalogue was written apart from our tables, and is read here without them.
"""

from __future__ import annotations

import csv
import re
from collections import Counter

import pytest

from virtproof.probes.ask import ask
from virtproof.probes.cpus import parse
from virtproof.probes.facts.catalogue import ALL_FACTS

CPUID = re.compile(r"leaf (0x[0-9A-F]+|\d+)(?:\.(\d))? (E[ABCD]X)\[(\d+)(?::(\d+))?\](?: \w+)?", re.IGNORECASE)
ALLOWED = re.compile(r"0x([0-9A-F]+).* allowed-1 = bit (\d+)")
MSR = re.compile(r"0x([0-9A-F]+)(?: \w+)?\[(\d+)(?::(\d+))?\](?: \w+)?")


INTEL, AMD = (0x756E6547, 0x6C65746E, 0x49656E69), (0x68747541, 0x444D4163, 0x69746E65)
MAY = 0xFFFF_FFFF << 32
PARENTS = {0xFE: 0xFFFF, 0x480: 0x3FF << 48, 0x482: MAY, 0x483: MAY, 0x48B: MAY}  # that say which others there are


def position(text):
    """Where a row says that its value is: ("cpuid", leaf, subleaf, column, high, low) or ("msr", index, high, low)."""
    if found := CPUID.match(text):
        leaf, sub, register, high, low = found.groups()
        return "cpuid", int(leaf, 0), int(sub or 0), "ABCD".index(register[1].upper()), high, low or high
    if found := ALLOWED.match(text):
        return "msr", int(found[1], 16), found[2], found[2]
    if found := MSR.match(text):
        index, high, low = found.groups()
        return "msr", int(index, 16), high, low or high
    return None


def taken(place, leaves, msrs):
    """What stands at a position of one CPU; ``None`` where nothing does."""
    kind, *where, high, low = place
    value = msrs.get(where[0]) if kind == "msr" else leaves.get((where[0], where[1]), (None,) * 4)[where[2]]
    return None if value is None else value >> int(low) & (1 << int(high) - int(low) + 1) - 1


@pytest.fixture
def places(data_folder):
    """Fact id -> position, of the rows that give one and that a single fact answers."""
    path = data_folder.parent / "facts" / "host_facts.csv"
    if not path.is_file():
        pytest.skip(f"no fact catalogue in {path} (set VIRTPROOF_DATA)")
    with path.open(newline="") as file:
        rows = {row["id"]: row["location"] for row in csv.DictReader(file) if row["source_kind"] in {"cpuid", "msr"}}
    asked = Counter(ref for fact in ALL_FACTS for ref in fact.refs)
    single = {
        fact.id: rows[fact.refs[0]]
        for fact in ALL_FACTS
        if len(fact.refs) == 1 and fact.refs[0] in rows and asked[fact.refs[0]] == 1
    }
    return {fact: place for fact, text in single.items() if (place := position(text))}


def test_every_fact_is_where_the_catalogue_says(places, dumps, make_machine):
    assert len(places) > 230
    compared = Counter()
    for name, (leaves, msrs) in dumps.items():
        answers = ask(make_machine(name, leaves, msrs).collect())
        for fact, place in places.items():
            expected = taken(place, leaves, msrs)
            for one in answers[fact].seen:
                if expected is not None and not isinstance(one.value, str) and 0 in parse(one.cpus):
                    assert int(one.value) == expected, (name, fact, place)
                    compared[fact] += 1
    assert sum(compared.values()) > 5000
    assert len(compared) > 200, sorted(places.keys() - compared.keys())


@pytest.mark.parametrize("kind", ["cpuid", "msr"])
def test_a_bit_alone_answers_its_fact_alone(places, hosts, tmp_path, kind):
    """One position after the other, on a processor that has nothing else: a fact must not see its neighbour."""
    virtual = {(0, 0): (0x24, 0, 0, 0), (0x8000_0000, 0): (0x8000_0028, 0, 0, 0)}
    flags = {fact: place for fact, place in places.items() if place[0] == kind and place[-1] == place[-2]}
    assert len(flags) > 60
    for number, (fact, place) in enumerate(flags.items()):
        leaves, msrs = dict(virtual), {}
        bit = 1 << int(place[-1])
        if kind == "cpuid":
            registers = [bit if column == place[3] else 0 for column in range(4)]
            leaves[place[1], place[2]] = tuple(registers)
        else:
            # All that a register may depend on is there, so that it is read.
            leaves |= {(1, 0): (0, 0, 0xFFFF_FFFF & ~(1 << 31), 0xFFFF_FFFF), (7, 0): (0, 0, 0xFFFF_FFFF, 0xFFFF_FFFF)}
            leaves |= {(0x8000_000A, 0): (0, 0, 0, 0xFFFF_FFFF), (0x8000_001F, 0): (0xFFFF_FFFF, 0, 0, 0)}
            leaves[0, 0] = (0x24, *(AMD if place[1] > 0xC001_0000 else INTEL))
            msrs = PARENTS | {place[1]: bit}
        answers = ask(hosts.Machine(tmp_path / str(number), leaves, msrs, cpus=1).collect())
        assert answers.value(fact) is True, (fact, place)
        same = [other for other, where in flags.items() if where == place]
        register = place[:-2]
        beside = [other for other, where in flags.items() if where[:-2] == register and other not in same]
        wrong = [other for other in beside if answers.value(other)]
        assert not wrong, (fact, wrong)
