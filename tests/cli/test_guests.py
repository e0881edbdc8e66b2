from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from virtproof.cli.app import run
from virtproof.conformance.case import Case
from virtproof.results import Verdict
from virtproof.vmm.engines.opening import EngineUnavailable, open_engine

if TYPE_CHECKING:
    from tests.cli.conftest import Guests


def ids(cases: tuple[Case, ...]) -> list[str]:
    return [case.id for case in cases]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((Verdict.PASS, Verdict.PASS), 0),
        ((Verdict.PASS, Verdict.SKIP), 0),
        ((Verdict.PASS, Verdict.FAIL), 3),
        ((Verdict.CRASH, Verdict.PASS), 3),
        ((Verdict.FAIL, Verdict.ERROR), 4),
    ],
)
def test_the_exit_code_is_the_strongest(
    guests: Guests, some: tuple[Case, ...], verdicts: tuple[Verdict, ...], code: int
) -> None:
    guests.verdicts = dict(zip(ids(some), verdicts, strict=False))
    assert run(["guests", *ids(some)]) == code


def test_what_did_not_pass_is_shown_with_expected_and_observed(
    guests: Guests, some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    guests.verdicts = {some[1].id: Verdict.FAIL}
    run(["guests", *ids(some)])
    said = capsys.readouterr().out
    assert f"fail: {some[1].id}" in said
    assert "vector: expected #UD, observed #GP" in said
    assert f"see {some[1].cite[0]}" in said
    assert f"pass: {some[0].id}" not in said


def test_a_guest_cannot_drive_the_terminal(
    guests: Guests, some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    guests.verdicts = {some[0].id: Verdict.FAIL}
    run(["guests", some[0].id])
    assert r"\x1b[2J" in (said := capsys.readouterr().out)
    assert "\x1b" not in said


def test_json_holds_every_case(guests: Guests, some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run(["guests", "--json", *ids(some)])
    document = json.loads(capsys.readouterr().out)
    assert document["complete"] is True
    assert [(case["id"], case["verdict"]) for case in document["cases"]] == [(case.id, "pass") for case in some]


def test_interrupted_it_shows_what_was_done(
    guests: Guests, some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    guests.interrupt_after = 1
    assert run(["guests", *ids(some)]) == 130
    assert f"interrupted: {len(some) - 1} of {len(some)} cases did not run" in capsys.readouterr().out


def test_without_kvm_the_cause_and_the_remedy_are_told(
    no_kvm: Guests, some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["guests", some[0].id]) == 4
    said = capsys.readouterr().err
    assert "open /dev/kvm: No such file or directory" in said
    assert "to do: load kvm_intel or kvm_amd" in said


def test_a_name_stands_for_everything_below_it(guests: Guests, some: tuple[Case, ...]) -> None:
    run(["guests", some[0].id.rsplit(".", 1)[0]])
    assert some[0].id in guests.ran


@pytest.mark.kvm
def test_a_real_guest(some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        with open_engine("auto"):
            pass
    except EngineUnavailable as fault:
        pytest.skip(str(fault))
    assert run(["guests", "--json", some[0].id]) in {0, 3}
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["id"] == some[0].id
    assert case["verdict"] in {"pass", "fail", "crash", "skip"}
