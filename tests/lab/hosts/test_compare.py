"""What a lab host said against its row: every field that differs is a line, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from virtproof.lab.hosts.compare import mismatches
from virtproof.lab.hosts.table import HOSTS, met, noted, refused
from virtproof.probes.causes import CAUSES
from virtproof.probes.claims.catalogue import ALL_CLAIMS
from virtproof.probes.profile import load_profile
from virtproof.results import Backend, ClaimResult, Finding, Host, Layer, Outcome, Run, Standing

GOOD = Finding(id="hardware", title="", severity="critical", standing=Standing.MET, gates=True)
BAD = replace(
    GOOD,
    standing=Standing.NOT_MET,
    cause="not-in-silicon",
    cause_text="the processor does not have it",
    remedy="replace-processor",
    remedy_text="Use another one.",
)
CLAIM = ClaimResult(
    name="nested",
    title="",
    silicon=Layer.YES,
    firmware=Layer.YES,
    kernel=Layer.NO,
    functional=Layer.UNKNOWN,
    cause="module-parameter",
    cause_text="it is switched off",
    remedy="set-module-parameter",
    remedy_text="Switch it on.",
)


def run(outcome: Outcome, *findings: Finding) -> Run:
    return Run(
        version="0", started="", seconds=0, complete=True, outcome=outcome, summary="", host=Host(),
        backend=Backend(engine="kvm", name="kvm_amd", software=False), profile="", profile_sha256="", cases_sha256="",
        findings=findings, claims=(CLAIM,),
    )  # fmt: skip


REFUSED = refused("finding hardware", "not-in-silicon", "replace-processor")


def test_hosts_that_are_judged_right_have_no_mismatch():
    assert mismatches(met("finding hardware"), run(Outcome.COMPLIANT, GOOD)) == ()
    assert mismatches(REFUSED, run(Outcome.NOT_COMPLIANT, BAD)) == ()
    named = noted("claim nested", "module-parameter", "set-module-parameter")
    assert mismatches(named, run(Outcome.COMPLIANT, GOOD)) == ()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"cause": "could-not-read"}, "cause: expected not-in-silicon, got could-not-read"),
        ({"cause": None}, "cause: expected not-in-silicon, got none"),
        ({"remedy": "load-module"}, "remedy: expected replace-processor, got load-module"),
        ({"cause_text": ""}, "text of the cause: expected some, got none"),
        ({"remedy_text": ""}, "text of the remedy: expected some, got none"),
    ],
)
def test_each_field_that_differs_is_a_line(change, line):
    assert line in map(str, mismatches(REFUSED, run(Outcome.NOT_COMPLIANT, replace(BAD, **change))))


def test_another_verdict_is_a_mismatch():
    assert [str(one) for one in mismatches(REFUSED, run(Outcome.UNKNOWN, BAD))] == [
        "outcome: expected not compliant, got unknown"
    ]


def test_the_injected_cause_must_be_the_first_that_people_read():
    other = replace(BAD, id="other", cause="module-parameter")
    assert [str(one) for one in mismatches(REFUSED, run(Outcome.NOT_COMPLIANT, other, BAD))] == [
        "first cause of the verdict: expected not-in-silicon, got module-parameter"
    ]
    silent = replace(other, gates=False)
    assert mismatches(REFUSED, run(Outcome.NOT_COMPLIANT, silent, BAD)) == ()


def test_a_finding_that_the_run_lacks_is_a_mismatch():
    (only,) = mismatches(REFUSED, run(Outcome.NOT_COMPLIANT, replace(BAD, id="other")))
    assert str(only) == "finding hardware: expected in the run, got none"


# The table


def test_names_are_unique_and_there_are_all_of_them():
    assert len({host.name for host in HOSTS}) == len(HOSTS) == 24


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_rows_name_what_virtproof_knows(host):
    expected = host.expected
    kind, name = expected.where.split()
    known = {
        "finding": {one.id for one in load_profile("kvm-host").requirements},
        "claim": {one.name for one in ALL_CLAIMS},
    }
    assert name in known[kind]
    if expected.cause is None:
        assert expected.remedy is None
        assert expected.outcome is Outcome.COMPLIANT
    else:
        assert CAUSES[expected.cause].remedy_id == expected.remedy
