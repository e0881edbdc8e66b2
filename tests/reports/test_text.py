"""The plain report."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from virtproof.reports.text import FAILING_SHOWN, render_terminal, render_text
from virtproof.results import Backend, Baseline, Change, Evidence, KnownDeviation, Run, Technique

Pair = tuple[Run, Evidence]


def test_it_answers_in_order(runs: dict[str, Pair]) -> None:
    text = render_text(runs["firmware off"][0], files=("out/report.html",))
    order = ["NOT COMPLIANT  profile kvm-host", "does not meet 3 of 6", "What stands in the way", "Also noticed",
             "What to do", "  1. Enter the BIOS", "  2. modprobe msr", "Not proven",
             "Host and run", "  - microcode: 0xa10113e", "  - profile SHA-256: 3f5a0c2e", "Claims and proofs",
             "  - unproven: svm, npt\n", "Requirements: 1 met, 3 not met, 1 unknown, 1 waived", "Cases: none",
             "Waivers", "  - An IOMMU is active: waived: jane@example.org", "out/report.html"]  # fmt: skip

    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_cases_and_mismatches(runs: dict[str, Pair]) -> None:
    text = render_text(runs["software backend"][0])

    assert "! Guest results describe an emulator (kvm_pvm); hardware claims stay unproven." in text
    elsewhere = replace(
        runs["software backend"][0], backend=Backend(engine="software", name="unicorn 2.1.4", software=True)
    )
    assert "! Guests ran on the software engine (unicorn 2.1.4), an emulator" in render_text(elsewhere)
    assert "  traps            20      0      1      0      0\n" in text
    assert "  all              54      1      1      1      1\n" in text
    assert "  fail   page.ad.dirty_on_write.pae32: D is clear in the leaf entry after the write\n" in text


def test_many_failures_are_cut_with_a_word(big_run: Pair) -> None:
    run, _ = big_run
    text = render_text(run)
    assert text.count("  fail   ") == FAILING_SHOWN
    assert f"  and {len(run.failing) - FAILING_SHOWN} more in the HTML report\n" in text


def test_nothing_is_wrong_with_a_healthy_host(runs: dict[str, Pair]) -> None:
    text = render_text(runs["healthy"][0])
    assert text.startswith("COMPLIANT")
    for title in ("What stands in the way", "What to do", "Failing cases", "!"):
        assert title not in text


@pytest.mark.parametrize("width", [60, 100])
def test_lines_fit(runs: dict[str, Pair], width: int) -> None:
    for name in ("healthy", "firmware off", "interrupted"):
        assert max(map(len, render_text(runs[name][0], width=width).splitlines())) <= width


def test_hostile_text_cannot_drive_the_terminal(runs: dict[str, Pair]) -> None:
    run, _ = runs["hostile"]
    text = render_text(replace(run, profile="x\nCOMPLIANT", counts={"\x1b[2J\nCOMPLIANT": {"pass": 1}}))

    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e]", text)
    assert not re.search("^ *COMPLIANT", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) < 1000


def test_every_run_has_a_text(any_run: Pair) -> None:
    run, _ = any_run
    assert render_text(run).startswith(run.outcome.upper())


def test_what_changed_since_the_baseline(runs: dict[str, Pair]) -> None:
    run = runs["firmware off"][0]
    change = Change(subject="finding", id="iommu", before="met", after="not met: kernel-command-line")
    baseline = Baseline(started="2026-05-01", version="0.1", profile="kvm-host", changes=(change,) * 30, left_out=7)
    text = render_text(replace(run, baseline=baseline))
    assert "Changed since 2026-05-01\n  - finding iommu: met -> not met: kernel-command-line\n" in text
    assert "  - and 17 more changes\n" in text
    none = replace(baseline, changes=(), left_out=0, not_compared=("4 cases are in the baseline only.",))
    assert "  - 4 cases are in the baseline only." in render_text(replace(run, baseline=none))
    assert "Changed since" not in render_text(run)


def test_how_guests_run(runs: dict[str, Pair]) -> None:
    run, _ = runs["healthy"]
    said = (
        Technique("real mode", "interpretation", "claim.x"),
        Technique("local APIC", "APICv", "claim.y", "avic\x1b[2J"),
    )
    text = render_text(replace(run, techniques=said), width=200)
    assert "  - real mode: interpretation (claim.x)\n" in text
    assert "  - local APIC: APICv. CONTRADICTION: avic\\x1b[2J\n" in text
    assert "How guests run here" not in render_text(run)


SGR = re.compile(r"\x1b\[[0-9;]*m")


def test_a_terminal_gets_the_same_lines_with_colours(any_run: Pair) -> None:
    run, _ = any_run
    coloured = render_terminal(run, width=90, files=("out/report.html",))
    assert SGR.sub("", coloured) == render_text(run, width=90, files=("out/report.html",))
    assert SGR.match(coloured), "the verdict has a colour"
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", SGR.sub("", coloured))


def test_colours_say_what_the_words_say(runs: dict[str, Pair]) -> None:
    def colours(name: str) -> str:
        return render_terminal(runs[name][0])

    assert colours("healthy").startswith("\x1b[1;32mCOMPLIANT  profile kvm-host\x1b[0m\n")
    assert colours("software backend").startswith("\x1b[1;31mNOT COMPLIANT")
    assert "\x1b[31m  fail   page.ad.dirty_on_write.pae32" in colours("software backend")
    assert "\x1b[33m! Guest results describe an emulator" in colours("software backend")
    assert "\x1b[1mWhat to do\x1b[0m\n  1. Enter" in colours("firmware off")


def test_nothing_of_a_host_is_markup(runs: dict[str, Pair]) -> None:
    run = replace(runs["healthy"][0], summary="[red]x[/red] [link=http://x]y[/link] :smile:")
    assert "[red]x[/red] [link=http://x]y[/link] :smile:\n" in render_terminal(run)


def test_waivers_deviations_and_changes_come_last(runs: dict[str, Pair]) -> None:
    run = runs["firmware off"][0]
    known = KnownDeviation(id="kvm-x", reason="KVM does x", cite=(), cases=("a.b",))
    baseline = Baseline(started="2026-05-01", version="0.1", profile="p")
    text = render_text(replace(run, deviations=(known,), baseline=baseline))
    order = [
        "Requirements:",
        "Cases",
        "Waivers",
        "Known deviations",
        "  - kvm-x: KVM does x",
        "Changed since 2026-05-01",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
