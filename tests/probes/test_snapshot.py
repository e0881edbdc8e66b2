"""A snapshot from a hostile host: only Fault comes out."""

from __future__ import annotations

import copy
import json
import random
from datetime import date
from pathlib import Path

import pytest

from virtproof.probes.judge import judge
from virtproof.probes.profile import load_profile
from virtproof.probes.snapshot import SCHEMA, Snapshot, checked, dumps, load, loads, save
from virtproof.spec.fault import Fault

WEIRD = (
    None,
    True,
    -1,
    2**70,
    1.5,
    "",
    "\ud800",
    "\0",
    "x" * 70_000,
    [],
    {},
    [[]],
    {"": {}},
    "0-9999999",
    "../../etc",
    {"0x1": "0"},
)


def test_save_and_load_round_trip(intel, tmp_path: Path):
    snapshot = intel.collect()
    save(snapshot, str(tmp_path / "host.json"))
    assert load(str(tmp_path / "host.json")) == snapshot
    assert [path.name for path in tmp_path.glob(".snapshot-*")] == []


def test_save_says_why_not(intel, tmp_path: Path):
    with pytest.raises(Fault, match="No such file"):
        save(intel.collect(), str(tmp_path / "nowhere" / "host.json"))


@pytest.mark.parametrize("text", [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1}', b'{"schema": "virtproof.snapshot/3"}', b"[" * 100_000,
    b'{"schema": NaN}', b"1" * 5000, b'{"a": 1, "a": 2}', b'{"schema": "virtproof.snapshot/1"}', b'"\\ud800"',
])  # fmt: skip
def test_what_is_no_snapshot_is_refused(text):
    with pytest.raises(Fault):
        loads(text)


def test_the_message_names_the_place(intel):
    document = json.loads(dumps(intel.collect()))
    document["msr"]["values"]["0x3a"] = {"0x5": "0-x"}
    with pytest.raises(Fault, match=r"snapshot\.msr\.values\['0x3a'\]"):
        checked(document)


def test_too_much_is_refused(intel, monkeypatch):
    document = json.loads(dumps(intel.collect()))
    monkeypatch.setattr("virtproof.probes.snapshot.MAX_BYTES", 100)
    with pytest.raises(Fault, match="more than"):
        loads(json.dumps(document))
    document["tool"] = "x" * 65
    with pytest.raises(Fault, match=r"snapshot\.tool: 65 characters, at most 64"):
        checked(document)


def test_a_snapshot_of_the_least_is_enough(intel):
    least = checked({"schema": SCHEMA, "tool": "x", "taken": "2026-01-01T00:00:00Z", "cpus": "0"})
    judgement = judge(least, (), load_profile("kvm-host"), today=date(2026, 1, 1))
    assert judgement.outcome == "unknown"


def mutate(document: object, dice: random.Random) -> object:
    """Change one place somewhere in a document."""
    parents = [(holder, key) for holder, key in places(document)]
    holder, key = dice.choice(parents)
    match dice.randrange(4):
        case 0:
            del holder[key]
        case 1:
            holder[key] = dice.choice(WEIRD)
        case 2 if isinstance(holder, dict):
            holder[str(dice.choice(WEIRD))] = holder[key]
        case _:
            value = holder[key]
            if isinstance(value, str) and value:
                at = dice.randrange(len(value))
                holder[key] = value[:at] + chr(dice.randrange(0x110)) + value[at + 1 :]
            else:
                holder[key] = dice.choice(WEIRD)
    return document


def places(node: object):
    """Every place in a document that can be changed: pairs (holder, key)."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield node, key
            yield from places(value)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield node, number
            yield from places(value)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_snapshots_are_judged_or_refused(intel, seed):
    dice = random.Random(seed)
    good, profile = json.loads(dumps(intel.collect())), load_profile("kvm-host")
    judged = 0
    for _ in range(60):
        document = copy.deepcopy(good)
        for _ in range(dice.randint(1, 3)):
            mutate(document, dice)
        try:
            snapshot = checked(document)
        except Fault:
            continue
        assert isinstance(snapshot, Snapshot)
        judge(snapshot, (), profile, today=date(2026, 1, 1))
        judged += 1
    assert judged, "no mutant got through: the checks refuse too much, or nothing was tested"


@pytest.mark.parametrize("seed", range(4))
def test_mutated_text_is_refused_or_read(intel, seed):
    dice = random.Random(seed)
    good = dumps(intel.collect()).encode()
    for _ in range(40):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            loads(bytes(data))
        except Fault:
            continue
