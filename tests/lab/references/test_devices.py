"""Our drivers on QEMU's devices observe what they observe on ours, or a row says why not."""

from __future__ import annotations

import shutil

import pytest

from virtproof.conformance.case import Case
from virtproof.conformance.catalogue import all_cases
from virtproof.lab.references.devices import DEVICES, KNOWN, device_of, driver_of, explained, observations

QEMU = shutil.which("qemu-system-x86_64") or ""
DRIVEN = [case for case in all_cases() if driver_of(case) is not None and device_of(case) is not None]


def test_there_are_drivers_of_each_device() -> None:
    assert {device.name for device in map(device_of, DRIVEN) if device is not None} == {
        device.name for device in DEVICES
    }


def test_rows_are_about_cases_that_are_run() -> None:
    assert {known.case for known in KNOWN} <= {case.id for case in DRIVEN}
    assert all(known.why for known in KNOWN)


@pytest.mark.lab
@pytest.mark.skipif(not QEMU, reason="no qemu-system-x86_64 on this machine: apt-get install qemu-system-x86")
@pytest.mark.parametrize("case", DRIVEN, ids=[case.id for case in DRIVEN])
def test_a_driver_observes_the_same_on_qemus_device(case: Case) -> None:
    program, device = driver_of(case), device_of(case)
    assert program is not None
    assert device is not None
    saw = observations(QEMU, program, device)
    if any(known.case == case.id for known in KNOWN):
        assert explained(case.id, saw), f"QEMU shows {saw}, which no row explains"
    else:
        assert saw == program.observations
