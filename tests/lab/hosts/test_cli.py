"""``virtproof lab``: what it prints and the code it ends with; nothing is booted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from virtproof.cli.app import run
from virtproof.lab.hosts import execute
from virtproof.lab.hosts.compare import Mismatch
from virtproof.lab.hosts.execute import Outcome
from virtproof.lab.hosts.table import HOSTS
from virtproof.lab.missing import Missing


@pytest.fixture
def outcomes(monkeypatch):
    """What each host gives; one that is not named here is as expected."""
    given = {}

    def fake(host, folder, **options):
        found = given.get(host.name, Outcome(host=host, seconds=1.5))
        if isinstance(found, Exception):
            raise found
        return replace(found, host=host)

    monkeypatch.setattr(execute, "execute", fake)
    return given


ANY = HOSTS[0]


def test_list_names_every_host_with_its_cause(capsys):
    assert run(["lab", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [host.name for host in HOSTS]
    assert any("firmware-off-vmx" in line for line in lines)


def test_list_for_programs(capsys):
    assert run(["lab", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "virtproof.lab/1"
    assert document["hosts"][0]["expected"]["outcome"] == "compliant"


def test_all_as_expected_is_0(outcomes, capsys):
    assert run(["lab", "run", "all"]) == 0
    assert capsys.readouterr().out.count("as expected in 1.5 s") == len(HOSTS)


def test_a_mismatch_is_3_and_is_printed_field_by_field(outcomes, capsys):
    outcomes["amd-npt"] = Outcome(
        host=ANY,
        mismatches=(Mismatch("cause", "", "module-parameter"), Mismatch("remedy", "", "set-module-parameter")),
    )
    assert run(["lab", "run", "amd-npt", "amd-smp2"]) == 3
    out = capsys.readouterr().out
    assert "amd-npt: NOT AS EXPECTED" in out
    assert "  cause: expected none, got module-parameter\n" in out
    assert "  remedy: expected none, got set-module-parameter\n" in out
    assert "amd-smp2: as expected" in out


@pytest.mark.parametrize("change", [{"unexplained": ("fail a.x: why",)}, {"stale": ("a.*",)}])
def test_the_table_of_departures_must_be_right_too(outcomes, capsys, change):
    outcomes["amd-npt"] = replace(Outcome(host=ANY), **change)
    assert run(["lab", "run", "amd-npt"]) == 3
    assert "table of departures" in capsys.readouterr().out


def test_a_host_that_cannot_be_run_is_4_and_the_others_are_run(outcomes, capsys):
    outcomes["amd-npt"] = Missing("boot a lab host", "no QEMU", "install it")
    assert run(["lab", "run", "amd-npt", "amd-smp2", "--json"]) == 4
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert first["errors"] == ["boot a lab host: no QEMU\n  to do: install it"]
    assert not first["as_expected"]
    assert second["as_expected"]


def test_a_name_that_nobody_knows_is_a_usage_error(outcomes, capsys):
    assert run(["lab", "run", "amd-ntp"]) == 64
    assert "did you mean amd-npt" in capsys.readouterr().err


def test_a_case_or_an_area_that_nobody_knows_is_told_before_anything_boots(outcomes, capsys):
    outcomes["amd-npt"] = RuntimeError("it was booted")
    assert run(["lab", "run", "amd-npt", "--cases", "irq_routing"]) == 64
    assert run(["lab", "run", "amd-npt", "--area", "virtoi"]) == 64
    assert "did you mean virtio" in capsys.readouterr().err
    assert run(["lab", "run", "amd-npt", "--cases", "all", "--area", "virtio"]) == 64
    assert "exclude each other" in capsys.readouterr().err
