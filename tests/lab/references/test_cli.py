"""``virtproof crosscheck``."""

import json
import signal
from collections.abc import Generator, Iterable

import pytest

from virtproof.cli.app import run
from virtproof.conformance.case import Case
from virtproof.conformance.execute import result_of
from virtproof.lab.references import crosscheck
from virtproof.lab.references.reference import ReferenceMissing
from virtproof.results import CaseResult, Check, Verdict

CASE = "trap.de.div_zero.long64"


class Machines:
    """Instead of references: every case passes, but where ``wrong`` says what was seen."""

    def __init__(self) -> None:
        self.wrong: dict[tuple[str, str], str] = {}
        self.missing: set[str] = set()
        self.interrupt = False

    def find(self, name: str) -> str:
        if name in self.missing:
            raise ReferenceMissing(f"find {name}", f"no {name}", "install it")
        return name

    def run_rows(self, reference: "Named", cases: Iterable[Case]) -> Generator[CaseResult, None, None]:
        for case in cases:
            if self.interrupt:
                signal.raise_signal(signal.SIGINT)
            saw = self.wrong.get((reference.short, case.id))
            check = Check("exception", "#DE", saw or "#DE", saw is None)
            yield result_of(case, Verdict.FAIL if saw else Verdict.PASS, "", (check,))


class Named:
    def __init__(self, short: str) -> None:
        self.short, self.name = short, f"{short} 9.9"


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    stand_in = Machines()
    for name in crosscheck.REFERENCES:
        monkeypatch.setitem(crosscheck.REFERENCES, name, lambda name=name: Named(stand_in.find(name)))
    monkeypatch.setattr("virtproof.lab.references.rows.run_rows", stand_in.run_rows)
    return stand_in


def test_agreement_is_0(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["crosscheck", CASE, "--on", "bochs,qemu"]) == 0
    assert capsys.readouterr().out == "bochs 9.9: 1 pass\nqemu 9.9: 1 pass\n"


def test_an_unexplained_difference_is_3_and_shows_what_everybody_saw(
    machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.wrong["bochs", CASE] = "#GP\x1b[2J"
    assert run(["crosscheck", CASE, "--on", "bochs,qemu"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["case", "field", "expected", "bochs", "9.9", "qemu", "9.9"]
    assert lines[-1].split() == [CASE, "exception", "#DE", "#GP\\x1b[2J", "as", "expected"]


def test_an_explained_one_is_0_with_its_reason(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    icebp = "trap.soft.icebp.long64"
    machines.wrong["qemu", icebp] = "#UD at instruction 1 of 1"
    assert run(["crosscheck", icebp, "--on", "qemu"]) == 0
    out = capsys.readouterr().out
    assert "qemu-icebp" in out
    assert icebp not in out
    assert run(["crosscheck", icebp, "--on", "qemu", "--all"]) == 0
    assert icebp in capsys.readouterr().out


def test_a_stale_explanation_is_3(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["crosscheck", "pg.ctl.nxe_toggle", "--on", "qemu"]) == 3
    assert "Stale: qemu-nxe-off explains nothing on qemu 9.9" in capsys.readouterr().out


def test_json(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    machines.wrong["qemu", CASE] = "completes"
    machines.missing = {"bochs"}
    assert run(["crosscheck", CASE, "--on", "qemu", "--json"]) == 3
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert told == {
        "name": "qemu 9.9",
        "counts": {"fail": 1},
        "differences": [
            {"case": CASE, "field": "exception", "expected": "#DE", "observed": "completes", "explained": None}
        ],
        "stale": [],
    }


def test_what_is_asked_for_and_not_here_is_4(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    machines.missing = {"bochs"}
    assert run(["crosscheck", CASE, "--on", "bochs"]) == 4
    assert "install it" in capsys.readouterr().err


def test_what_is_not_asked_for_may_be_missing(
    machines: Machines, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.missing = {"bochs"}
    monkeypatch.setattr(crosscheck, "PARTIES", ("bochs", "qemu"))
    assert run(["crosscheck", CASE]) == 0
    assert "bochs: not here: find bochs: no bochs" in capsys.readouterr().out


def test_wrong_names_are_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["crosscheck", CASE, "--on", "boch"]) == 64
    assert "bochs" in capsys.readouterr().err


def test_ctrl_c_is_130(machines: Machines) -> None:
    machines.interrupt = True
    assert run(["crosscheck", CASE, "--on", "bochs"]) == 130
