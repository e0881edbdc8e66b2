import json
from dataclasses import replace

import pytest

from virtproof.cli.app import run
from virtproof.conformance.case import Case
from virtproof.conformance.catalogue import all_cases


def test_json_lists_every_case_with_what_a_program_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cases", "--json"]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert [case["id"] for case in cases] == [case.id for case in all_cases()]
    assert set(cases[0]) == {"id", "area", "title", "modes", "cite", "refs", "priority", "proves"}
    assert all(isinstance(text, str) for text in cases[0]["cite"])


def test_words_have_a_line_for_each_case(some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cases", *(case.id for case in some)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [case.id for case in some]


def test_an_area_limits_the_list(some: tuple[Case, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run(["cases", "--json", "--area", some[0].area])
    assert {case["area"] for case in json.loads(capsys.readouterr().out)["cases"]} == {some[0].area}


def test_an_id_outside_the_area_is_wrong_usage(
    some: tuple[Case, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(some[1], area="elsewhere")
    monkeypatch.setattr("virtproof.conformance.catalogue.all_cases", lambda: (some[0], elsewhere))
    assert run(["cases", some[0].id, "--area", "elsewhere"]) == 64
    assert "in the area elsewhere" in capsys.readouterr().err
