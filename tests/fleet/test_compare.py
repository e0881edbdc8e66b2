"""Hosts unlike their group, and hosts unlike themselves before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.fleet.conftest import BAD, GOOD, NO_KVM, Folder
from virtproof.fleet.compare import DIFFERENCES
from virtproof.results import Finding, Host, Outcome, Run, Standing


def with_host(**changes: object) -> Run:
    return replace(GOOD, host=replace(GOOD.host, **changes))  # type: ignore[arg-type]


def differences(folder: Folder) -> dict[str, list[tuple[str, str, str]]]:
    return {one.host: [(d.name, d.here, d.there) for d in one.differences] for one in folder.merged().outliers}


def test_the_odd_one_of_a_group(folder: Folder) -> None:
    for number in range(7):
        folder.add(f"h{number}", GOOD)
    folder.add("old", with_host(microcode="0x99", bios="Dell 1.5"))
    folder.add("broken", BAD)
    assert differences(folder) == {
        "old": [("host bios", "Dell 1.5", "Dell 1.6"), ("host microcode", "0x99", "0xa1")],
        "broken": [("requirement kvm-usable", "not met: firmware-off-svm", "met")],
    }
    first = folder.merged().outliers[0]
    assert (first.host, first.group, first.size) == ("old", "Dell R7615 · EPYC 9354", 9)


@pytest.mark.parametrize(("same", "other", "odd"), [(3, 1, 1), (2, 1, 0), (3, 2, 0), (6, 2, 2), (5, 2, 0)])
def test_three_quarters_of_four_or_more_make_the_rest_odd(folder: Folder, same: int, other: int, odd: int) -> None:
    for number in range(same):
        folder.add(f"same{number}", GOOD)
    for number in range(other):
        folder.add(f"other{number}", with_host(kernel="Linux 6.6.0"))
    assert len(differences(folder)) == odd


def test_groups_are_apart(folder: Folder) -> None:
    for number in range(8):
        folder.add(f"dell{number}", GOOD)
    folder.add("hp", with_host(system="HPE", bios="U32"))
    folder.add("other processor", with_host(cpu="EPYC 9124", microcode="0xb1"))
    folder.add("unknown", with_host(system="", cpu="", bios=""))
    assert differences(folder) == {}


def test_an_earlier_run_is_in_no_group(folder: Folder) -> None:
    for number in range(4):
        folder.add(f"h{number}", GOOD)
    folder.add("h0/before", replace(with_host(kernel="old"), started="2026-01-01T00:00:00+00:00"))
    assert differences(folder) == {}


def test_very_many_differences_are_bounded(folder: Folder) -> None:
    def many(standing: Standing) -> Run:
        made = (
            Finding(id=f"f{number:03}", title="", severity="major", standing=standing, gates=True)
            for number in range(100)
        )
        return replace(GOOD, findings=tuple(made))

    for number in range(4):
        folder.add(f"h{number}", many(Standing.MET))
    folder.add("odd", replace(many(Standing.UNKNOWN), outcome=Outcome.UNKNOWN))
    (one,) = folder.merged().outliers
    assert (len(one.differences), one.left_out) == (DIFFERENCES, 100 - DIFFERENCES)


def test_drift(folders: Callable[[str], Folder]) -> None:
    before, now = folders("may"), folders("june")
    for number in range(5):
        before.add(f"h{number}", GOOD)
        now.add(f"h{number}", with_host(kernel="Linux 6.6.0") if number else GOOD)
    before.add("gone", GOOD)
    now.add("new", GOOD)
    before.add("worse", GOOD)
    now.add("worse", BAD)
    drift = now.merged(baseline=before.path).drift
    assert drift
    assert (drift.compared, drift.changed, drift.new, drift.gone) == (6, 5, ("new",), ("gone",))
    assert [(one.name, one.before, one.after, one.hosts, one.example) for one in drift.moved] == [
        ("verdict", "compliant", "not compliant", 1, "worse"),
        ("host kernel", "Linux 6.1.0", "Linux 6.6.0", 4, "h1"),
        ("requirement kvm-usable", "met", "not met: firmware-off-svm", 1, "worse"),
    ]


def test_drift_from_a_fleet_that_is_the_same_is_none(folder: Folder) -> None:
    folder.add("a", GOOD)
    folder.add("b", BAD)
    drift = folder.merged(baseline=folder.path).drift
    assert drift
    assert (drift.compared, drift.changed, drift.moved) == (2, 0, ())


def test_a_boot_is_no_drift_and_what_is_new_is(folders: Callable[[str], Folder]) -> None:
    before, now = folders("may"), folders("june")
    before.add("h", replace(with_host(boot_id="1"), findings=()))
    now.add("h", with_host(boot_id="2"))
    drift = now.merged(baseline=before.path).drift
    assert drift
    assert [(one.name, one.before, one.after) for one in drift.moved] == [("requirement kvm-usable", "", "met")]


def test_a_broken_baseline_file_stops_nothing(folders: Callable[[str], Folder]) -> None:
    before, now = folders("may"), folders("june")
    before.add("h", "{")
    now.add("h", replace(BAD, host=Host(), findings=(NO_KVM,)))
    drift = now.merged(baseline=before.path).drift
    assert drift
    assert (drift.compared, drift.new) == (0, ("h",))
