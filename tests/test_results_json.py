"""run.json and evidence.json.gz: what is written comes back, what is broken is refused with the place."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from virtproof import results_json
from virtproof.results import (
    Backend,
    Baseline,
    CaseResult,
    Change,
    Check,
    ClaimResult,
    CostResult,
    DiskResult,
    Evidence,
    FactAnswer,
    Finding,
    Host,
    KnownDeviation,
    Layer,
    NicResult,
    Outcome,
    Run,
    Standing,
    Technique,
    Verdict,
    WaiverTerms,
)
from virtproof.results_json import dump_evidence, dump_run, load_evidence, load_run, write_atomically
from virtproof.spec.fault import Fault

CASE = CaseResult(
    id="trap.ud.ud2.long64",
    area="traps",
    title="UD2 raises #UD",
    mode="long64",
    cite=("Intel SDM vol. 2B, 'UD'",),
    verdict=Verdict.FAIL,
    reason="no exception",
    checks=(Check("vector", "6", "none", False),),
    evidence=("8000: 0f 0b  ud2",),
    seconds=0.25,
)
RUN = Run(
    version="0.1.0",
    started="2025-11-22T10:24:07Z",
    seconds=4,
    complete=True,
    outcome=Outcome.NOT_COMPLIANT,
    summary="No.",
    host=Host(cpu="Ä \ud800 \x00 CPU", cpus=64),
    backend=Backend(engine="kvm", name="kvm_amd", software=None),
    profile="kvm-host",
    profile_sha256="00",
    cases_sha256="11",
    findings=(Finding(id="a", title="A", severity="major", standing=Standing.NOT_MET, gates=True),),
    claims=(
        ClaimResult(
            name="svm",
            title="SVM",
            silicon=Layer.YES,
            firmware=Layer.NO,
            kernel=Layer.UNKNOWN,
            functional=Layer.NOT_APPLICABLE,
            cause=None,
        ),
    ),
    techniques=(Technique("guest page tables", "EPT", "slat.pf_noexit: pass", "kvm_intel.ept is off"),),
    deviations=(KnownDeviation(id="d", reason="D", cite=("C",), cases=("a.b",)),),
    counts={"traps": {"fail": 1}},
    failing=(CASE,),
    not_proven=("anything",),
)
EVIDENCE = Evidence(
    snapshot={"schema": "virtproof.snapshot/1", "cpuid": [[1, 2], {"eax": 3}], "none": None},
    facts=(
        FactAnswer(id="a", meaning="A", known=True),
        FactAnswer(id="b", meaning="B", known=1),
        FactAnswer(id="c", meaning="C", known="text"),
        FactAnswer(id="d", meaning="D", unknown="no permission"),
    ),
    cases=(CASE,),
    backend=Backend(engine="software", name="unicorn 2.1.4", software=True),
    costs=(CostResult(name="cpuid", title="CPUID", samples=2, minimum=1, median=1, p99=2, histogram=((1, 1), (2, 1))),),
    nics=(NicResult(name="e1000e", title="Intel 82574L", packets=1000, exits=4000, seconds=0.5),),
    disks=(DiskResult(name="ahci", title="AHCI", requests=64, size=4096, exits=192, seconds=0.25),),
)


def test_a_run_comes_back_as_it_was() -> None:
    text = dump_run(RUN)
    loaded = load_run(text)

    assert loaded == RUN
    assert text.isascii()
    assert json.loads(text)["schema"] == "virtproof.run/1"
    assert type(loaded.seconds) is float
    assert load_run(text.encode()) == RUN


(GATING,) = RUN.findings


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"outcome": Outcome.COMPLIANT}, "requirement that decides it is not met: a"),
        ({"outcome": Outcome.UNKNOWN}, "requirement that decides it is not met: a"),
        ({"outcome": Outcome.COMPLIANT, "findings": (replace(GATING, standing=Standing.UNKNOWN),)}, "is unknown: a"),
        ({"complete": False}, "is not complete"),
        ({"findings": (GATING, GATING)}, "the finding a is there more than once"),
        ({"findings": (replace(GATING, id="\ud800\x1b" * 500),) * 2}, r"the finding \ud800\x1b"),
        ({"claims": RUN.claims * 2}, "the claim svm is there more than once"),
        ({"seconds": -0.5}, "below zero"),
        ({"host": Host(cpus=-1)}, "below zero"),
        ({"counts": {"traps": {"pass": -1}}}, "below zero"),
        ({"failing": (replace(CASE, seconds=-1.0),)}, "below zero"),
    ],
)
def test_a_run_that_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(Fault, match="it contradicts itself: ") as caught:
        load_run(dump_run(replace(RUN, **changes)))
    assert why in caught.value.saw
    assert len(caught.value.saw) < 400


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.ERROR},
        {"outcome": Outcome.INTERRUPTED, "complete": False},
        {"outcome": Outcome.COMPLIANT, "findings": (replace(GATING, gates=False),)},
        {"outcome": Outcome.COMPLIANT, "findings": (replace(GATING, standing=Standing.WAIVED),)},
        {"outcome": Outcome.UNKNOWN, "findings": (replace(GATING, standing=Standing.UNKNOWN),)},
    ],
)
def test_a_run_may_be_worse_than_its_findings(changes: dict[str, Any]) -> None:
    run = replace(RUN, **changes)
    assert load_run(dump_run(run)) == run


def test_evidence_comes_back_as_it_was() -> None:
    data = dump_evidence(EVIDENCE)
    loaded = load_evidence(data)

    assert loaded == EVIDENCE
    assert [type(fact.known) for fact in loaded.facts] == [bool, int, str, type(None)]
    assert data == dump_evidence(EVIDENCE), "the same evidence must make the same bytes"


def test_fields_with_a_default_may_be_absent() -> None:
    document = json.loads(dump_run(RUN))
    del document["failing"], document["host"]["cpu"]

    assert load_run(json.dumps(document)) == replace(RUN, failing=(), host=replace(RUN.host, cpu=""))


Damage = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d.pop("outcome"), "at $.outcome: missing"),
        (lambda d: d["host"].update(cpus="64"), "at $.host.cpus: '64' where an integer belongs"),
        (lambda d: d["host"].update(cpus=True), "at $.host.cpus: True where an integer belongs"),
        (lambda d: d["host"].update(cpus=1 << 64), "at $.host.cpus: a number out of range"),
        (lambda d: d.update(complete=1), "at $.complete: 1 where true or false belongs"),
        (lambda d: d.update(seconds=10**400), "at $.seconds: a number out of range"),
        (lambda d: d["findings"][0].update(standing="mett"), "at $.findings[0].standing: 'mett' is none of 'met'"),
        (lambda d: d["findings"][0].update(standing=[]), "at $.findings[0].standing: a list is none of"),
        (lambda d: d["findings"][0].update(cause=3), "at $.findings[0].cause: 3 where text or null belongs"),
        (lambda d: d["failing"][0]["checks"].append(7), "at $.failing[0].checks[1]: 7 where an object belongs"),
        (lambda d: d["failing"][0].update(evidence="x"), "at $.failing[0].evidence: 'x' where a list belongs"),
        (lambda d: d["counts"]["traps"].update(fail=None), "at $.counts['traps']['fail']: None where an integer"),
        (lambda d: d["counts"].update({"\x1b[2J": 1}), r"at $.counts['\x1b[2J']: 1 where an object"),
        (lambda d: d["backend"].update(engin="x"), "at $.backend: unknown field 'engin'"),
        (lambda d: d.update(summary=["A"] * 9), "at $.summary: a list where text belongs"),
        (lambda d: d["host"].update(cpus="A" * 999), f"at $.host.cpus: '{'A' * 59}... where"),
        (lambda d: d.update(schema="virtproof.run/2"), "schema is 'virtproof.run/2', not 'virtproof.run/1'"),
        (lambda d: d.update(schema={}), "schema is a dict"),
        (lambda d: d.clear(), "schema is None"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change: Damage, place: str) -> None:
    document = json.loads(dump_run(RUN))
    change(document)

    with pytest.raises(Fault) as caught:
        load_run(json.dumps(document), "old/run.json")

    assert caught.value.tried == "read old/run.json"
    assert caught.value.saw.startswith(place)
    assert caught.value.remedy
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        "{",
        '{"schema": "virtproof.run/1"',
        '{"schema": "virtproof.run/1", "seconds": NaN}',
        '{"schema": "virtproof.run/1", "seconds": 1e999}',
        '{"schema": "virtproof.run/1", "seconds": ' + "9" * 5000 + "}",
        "[" * 200_000,
        b"\xff\xfe\x00",
        b"\x80",
        " " * (results_json.RUN_LIMIT + 1),
    ],
)
def test_what_is_no_run_is_refused(text: str | bytes) -> None:
    with pytest.raises(Fault, match=r"read run\.json"):
        load_run(text)


@pytest.mark.parametrize("cut", range(0, len(dump_evidence(EVIDENCE)), 7))
def test_truncated_evidence_is_refused(cut: int) -> None:
    with pytest.raises(Fault, match=r"read evidence\.json\.gz"):
        load_evidence(dump_evidence(EVIDENCE)[:cut])


def test_damaged_evidence_is_refused() -> None:
    data = bytearray(dump_evidence(EVIDENCE))
    data[-6] ^= 0xFF

    with pytest.raises(Fault, match="damaged gzip data"):
        load_evidence(bytes(data))


def test_evidence_that_inflates_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_json, "EVIDENCE_LIMIT", 1 << 20)
    bomb = gzip.compress(bytes(64 << 20))

    tracemalloc.start()
    try:
        with pytest.raises(Fault, match="larger than 1 MiB"):
            load_evidence(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    umask = os.umask(0o022)
    try:
        write_atomically(path, b"old")
        write_atomically(path, b"new")
    finally:
        os.umask(umask)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.parametrize(
    ("call", "number", "remedy"),
    [
        ("fsync", errno.ENOSPC, "free some space"),
        ("fsync", errno.EDQUOT, "free some space"),
        ("replace", errno.EROFS, "writable"),
        ("replace", errno.EIO, "choose another directory"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, remedy: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, fail)

    with pytest.raises(Fault, match=os.strerror(number)) as caught:
        write_atomically(path, b"new")

    assert remedy in caught.value.remedy
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "run.json", b"new")

    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        write_atomically(tmp_path / "absent" / "run.json", b"new")

    assert "create the directory" in caught.value.remedy


def test_a_file_where_a_folder_belongs(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(Fault, match="Not a directory"):
        write_atomically(tmp_path / "out" / "run.json", b"new")


def test_a_folder_where_the_file_belongs(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(Fault, match="remove the directory of that name"):
        write_atomically(tmp_path / "run.json", b"new")
    assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.parametrize(
    "kind",
    [Run, Host, Backend, Finding, WaiverTerms, ClaimResult, Technique, KnownDeviation, Baseline, Change, CaseResult,
     Check, Evidence, CostResult, NicResult, DiskResult, FactAnswer],
    ids=lambda k: k.__name__,
)  # fmt: skip
def test_the_documentation_has_every_member_in_order(kind: Any) -> None:
    text = (Path(__file__).parents[1] / "docs/run.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition(f"\n## {kind.__name__}\n")[2], flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == [field.name for field in fields(kind)]
