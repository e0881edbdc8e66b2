import json
from dataclasses import replace
from pathlib import Path

import pytest

from virtproof.cli.app import run
from virtproof.conformance.case import Case
from virtproof.conformance.catalogue import all_cases
from virtproof.conformance.describe import describe


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


def test_a_single_case_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cases", "trap.ud.ud2.long64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trap.ud.ud2.long64"
    text = " ".join(" ".join(lines).split())
    for words in (
        "rule UD2 raises #UD in 64-bit mode",
        "mode long64, ring 0",
        "Intel SDM vol. 3A",
        "code +0x00 0f 0b ud2",
        "expected exception #UD saved RIP at ud2",
    ):
        assert words in text


def test_every_case_can_be_shown() -> None:
    for case in all_cases():
        lines = [*describe(case)]
        assert lines[0] == case.id
        assert not [line for line in lines if "object at 0x" in line or not line.strip()]


def test_export_writes_a_kernel_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cases", "trap.ud.ud2.long64", "--export", str(tmp_path / "new")]) == 0
    folder = tmp_path / "new/trap.ud.ud2.long64"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "bochsrc", "reproducer.elf"]
    assert (folder / "reproducer.elf").read_bytes()[:4] == b"\x7fELF"
    assert capsys.readouterr().out.split() == [str(folder / "reproducer.elf")]


def test_export_names_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A family with both kinds; then one alone, which is wrong usage."""
    from virtproof.conformance.export import why_not

    refused = next(case for case in all_cases() if why_not(case))
    assert run(["cases", "trap.ud.ud2.long64", refused.id, "--export", str(tmp_path)]) == 0
    assert f"not exported, because {why_not(refused)}: {refused.id}" in capsys.readouterr().err
    assert run(["cases", refused.id, "--export", str(tmp_path)]) == 64
    assert not (tmp_path / refused.id).exists()


def test_export_to_where_nothing_can_be_written_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["cases", "trap.ud.ud2.long64", "--export", str(tmp_path / "file/below")]) == 4
    assert "file/below" in capsys.readouterr().err
