"""The table of cases that do not pass on lab hosts: complete rows, and a citation where a kernel is blamed."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from virtproof.conformance.catalogue import all_cases
from virtproof.lab.hosts import departures
from virtproof.lab.hosts.departures import Blame, Departure
from virtproof.lab.hosts.table import HOSTS
from virtproof.probes.profile import load_profile
from virtproof.results import CaseResult, Verdict
from virtproof.spec.fault import Fault

ROW = Departure(hosts=("amd-*",), cases=("a.*",), blame=Blame.EMULATOR, reason="it does")


def result(name: str, verdict: Verdict) -> CaseResult:
    return CaseResult(id=name, area="", title="", mode="", cite=(), verdict=verdict)


def test_what_no_row_covers_is_unexplained():
    results = [
        result("a.x", Verdict.FAIL),
        result("b.x", Verdict.FAIL),
        result("c.x", Verdict.PASS),
        result("d.x", Verdict.SKIP),
    ]
    assert [one.id for one in departures.unexplained("amd-npt", results, [ROW])] == ["b.x"]
    assert [one.id for one in departures.unexplained("intel-ept", results, [ROW])] == ["a.x", "b.x"]


@pytest.mark.parametrize("verdict", [Verdict.CRASH, Verdict.ERROR])
def test_crashes_and_errors_are_unexplained_too(verdict):
    assert departures.unexplained("amd-npt", [result("b.x", verdict)], [ROW])


def test_a_row_whose_cases_all_pass_is_stale():
    passing, failing, skipped = (result("a.x", verdict) for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.SKIP))
    assert departures.stale("amd-npt", [passing], [ROW]) == ("a.*",)
    assert departures.stale("amd-npt", [passing, result("a.y", Verdict.CRASH)], [ROW]) == ()
    assert departures.stale("amd-npt", [failing], [ROW]) == ()
    assert departures.stale("amd-npt", [skipped], [ROW]) == (), "it was not asked"
    assert departures.stale("amd-npt", [], [ROW]) == (), "it was not run"
    assert departures.stale("intel-ept", [passing], [ROW]) == (), "it speaks of other hosts"


def test_a_row_for_what_fails_at_times_is_never_stale():
    sometimes = Departure(hosts=("*",), cases=("a.*",), blame=Blame.EMULATOR, reason="r", sometimes=True)
    assert departures.stale("amd-npt", [result("a.x", Verdict.PASS)], [sometimes]) == ()


def test_cases_that_end_the_emulator_are_left_out():
    fatal = Departure(hosts=("amd-*",), cases=("a.x",), blame=Blame.EMULATOR, reason="r", fatal=True)
    assert departures.safe("amd-npt", ["a.x", "a.y"], [ROW, fatal]) == ("a.y",)
    assert departures.safe("intel-ept", ["a.x", "a.y"], [ROW, fatal]) == ("a.x", "a.y")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema = 'virtproof.departures/2'",
        "schema = 'virtproof.departures/1'\nother = 1",
        "schema = 'virtproof.departures/1'\n[[departure]]\nhosts = []",
        "schema = 'virtproof.departures/1'\n[[departure]]\nhosts = ['*']\ncases = ['*']\nblame = 'nobody'\nreason = ''",
        "not toml",
    ],
)
def test_a_table_that_is_none_is_a_fault(tmp_path, text):
    path = tmp_path / "table.toml"
    path.write_text(text)
    with pytest.raises(Fault, match="mend the table"):
        departures.load(path)


TABLE = departures.load()


def test_every_row_speaks_of_hosts_and_cases_that_there_are():
    names, cases = [host.name for host in HOSTS], [case.id for case in all_cases()]
    for row in TABLE:
        assert row.reason
        for pattern in row.hosts:
            assert any(fnmatchcase(name, pattern) for name in names), pattern
        for pattern in row.cases:
            assert any(fnmatchcase(case, pattern) for case in cases), pattern


def test_a_kernel_is_blamed_by_a_deviation_with_its_citation():
    deviations = {one.id: one for one in load_profile("kvm-host").deviations}
    for row in TABLE:
        assert bool(row.deviation) == (row.blame is Blame.KERNEL)
        if row.deviation:
            assert deviations[row.deviation].cite
