"""The HTML report in a browser: what its script does, its use with a keyboard, how it prints, what axe says."""

from __future__ import annotations

import random
import zlib
from base64 import b64encode
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser, Page
from virtproof.reports.html import render_html
from virtproof.results import CostResult, DiskResult, Evidence, KnownDeviation, NicResult, Run, Technique

Pair = tuple[Run, Evidence]

# What the page's script does when it gets to it is awaited; nothing else tells when that is.
UNTIL = """
    const until = (holds) => new Promise((done) => {
      const look = () => { const found = holds(); found ? done(found) : setTimeout(look, 10); };
      look();
    });
    const find = (id) => document.getElementById(id);
"""
A4 = 718  # CSS pixels between the margins of A4, as Chromium sets them


def opened(browser: Browser, tmp_path: Path, source: str, fragment: str = "", **how: Any) -> Page:
    """The page of a report in a browser."""
    file = tmp_path / "report.html"
    file.write_text(source, encoding="utf-8")
    return browser.page(f"{file.as_uri()}{fragment}", **how)


def test_what_the_script_does(runs: dict[str, Pair], browser: Browser, tmp_path: Path) -> None:
    run, evidence = runs["software backend"]
    script = """
        const said = {};
        const linked = find("case-trap.de.div_zero.long64");
        await until(() => linked.querySelector("div"));
        said.linked = [linked.open, linked.closest("details.area").open, linked.textContent];
        const other = find("case-pio.out.byte.real16");
        said.before = other.querySelector("pre") === null;
        other.open = true;
        said.opened = (await until(() => other.querySelector("pre"))).textContent;
        const form = find("filter");
        const words = form.querySelector("input[type=search]");
        const shown = () => document.querySelectorAll("details.case:not([hidden])").length;
        words.value = "DIV prot32 TRAPS";
        form.dispatchEvent(new Event("input", {bubbles: true}));
        said.found = [shown(), form.querySelector("output").value];
        words.value = "";
        for (const box of form.querySelectorAll("input[type=checkbox]")) box.checked = box.value === "crash";
        form.dispatchEvent(new Event("input", {bubbles: true}));
        said.crashes = shown();
        find("facts").querySelector("input").value = "svm.asids";
        find("facts").querySelector("form").dispatchEvent(new Event("input"));
        said.facts = [...find("fact-rows").rows].filter((row) => !row.hidden).map((row) => row.id);
        location.hash = "#fact-svm.present";
        await until(() => !find("fact-svm.present").hidden);
        said.fact = find("fact-svm.present").closest("details").open;
        const closed = () => document.querySelectorAll("details:not([open])").length;
        const earlier = closed();
        dispatchEvent(new Event("beforeprint"));
        said.printed = [closed(), document.querySelectorAll("details.case > div").length];
        dispatchEvent(new Event("afterprint"));
        said.back = closed() === earlier && earlier > 0;
        return said;
    """
    with opened(browser, tmp_path, render_html(run, evidence), "#case-trap.de.div_zero.long64") as page:
        said = page.run(UNTIL + script)
        assert page.complaints() == []
        assert [address.partition("#")[0] for address in page.requests()] == [(tmp_path / "report.html").as_uri()]
    assert said["linked"][:2] == [True, True]
    for words in (
        "8000: f7 f3  div ebx",
        "saved RIP 0x0000000000008000",
        "AMD APM vol. 2, Exceptions",
        "Link to this case",
    ):
        assert words in said["linked"][2]
    assert said["before"], "nothing is unpacked before it is asked for"
    assert "6 exits, 41 us" in said["opened"]
    assert said["found"] == [1, f"1 of {len(evidence.cases)} cases"]
    assert said["crashes"] == 1
    assert said["facts"] == ["fact-svm.asids"]
    assert said["fact"]
    assert said["printed"] == [0, len(evidence.cases)]
    assert said["back"]


def test_what_is_packed_is_unpacked_to_the_byte(browser: Browser, tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(70_000)
    texts = [b"", b"a", bytes(70_000), noise, bytes(byte & 3 for byte in noise), noise[:300] * 200]
    ways = product(texts, (0, 1, 9), (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE))
    script = (
        files("virtproof.reports").joinpath("templates/inflate.js").read_text()
        + """
        const [bytes, whole] = [%s].map((text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
        const found = gunzip(bytes);
        return found.length === whole.length && found.every((byte, n) => byte === whole[n]);
    """
    )
    with opened(browser, tmp_path, "<!DOCTYPE html>") as page:
        for text, level, strategy in ways:
            packer = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS, strategy=strategy)
            packed = packer.compress(text) + packer.flush()
            strings = ", ".join(f'"{b64encode(each).decode()}"' for each in (packed, text))
            assert page.run(script % strings), (len(text), level, strategy)


def test_hostile_text_is_text_after_the_script_too(
    runs: dict[str, Pair], browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtproof.reports.html.FAILING_BUDGET", -1)  # all of it through the script
    script = """
        const first = document.querySelector("details[data-packed]");
        first.open = true;
        await until(() => first.querySelector("div"));
        dispatchEvent(new Event("beforeprint"));
        const open = document.querySelectorAll("details.case > div").length;
        return [open, [...document.scripts].length, document.querySelectorAll("section section section, img").length];
    """
    run, evidence = runs["hostile"]
    with opened(browser, tmp_path, render_html(run, evidence)) as page:
        assert page.run(UNTIL + script) == [len(evidence.cases), 2, 0]
        assert page.complaints() == []
        assert len(page.requests()) == 1


def test_a_keyboard_is_enough(runs: dict[str, Pair], browser: Browser, tmp_path: Path) -> None:
    focus = "const e = document.activeElement; return"
    with opened(browser, tmp_path, render_html(*runs["software backend"])) as page:
        page.press("Tab")
        assert page.run(f"{focus} [e.textContent, getComputedStyle(e).outlineStyle];") == [
            "Skip to the report", "solid",
        ]  # fmt: skip
        page.press("Enter", "Tab")
        assert page.run(f"{focus} e.closest('section').id;") == "verdict", "behind the list of sections"
        page.press("Shift+Tab")
        assert page.run(f"{focus} e.closest('nav') !== null;")

        page.run("document.querySelector('details.area[data-name=pio] > summary').focus();")
        page.press("Enter", "Tab", "Enter")
        found = "document.querySelector('details.area[data-name=pio] details.case')"
        assert page.run(f"{UNTIL} return (await until(() => {found}.querySelector('div'))).textContent;")
        page.press("Enter")
        assert page.run(f"return {found}.open;") is False

        page.run("document.querySelector('#filter input').focus();")
        page.type("loopback")
        shown = "return [...document.querySelectorAll('details.case:not([hidden])')].map((e) => e.id);"
        assert page.run(shown) == ["case-serial.loopback.msr.long64"]
        page.press("Tab")
        page.press(" ")
        assert page.run(f"{focus} [e.value, e.checked];") == ["pass", False]


@pytest.mark.parametrize(("width", "media"), [(1280, ""), (400, ""), (320, ""), (A4, "print")])
@pytest.mark.parametrize("name", ["firmware off", "software backend", "hostile"])
def test_nothing_is_cut_off(
    name: str, width: int, media: str, runs: dict[str, Pair], browser: Browser, tmp_path: Path
) -> None:
    """What is wider than the page can be scrolled to, and on paper there is no such thing."""
    with opened(browser, tmp_path, render_html(*furnished(runs[name])), width=width, media=media) as page:
        assert page.cut_off() == []
        assert page.run("return document.documentElement.scrollWidth;") == width


def test_it_prints(runs: dict[str, Pair], browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, render_html(*runs["software backend"])) as page:
        paper = page.paper()
        assert paper.startswith(b"%PDF-")
        assert page.run("return document.querySelectorAll('details.case > div').length;") > 50, "all cases were filled"
        page.command("Emulation.setEmulatedMedia", media="print")
        seen = (
            "return ['nav', '.sign-off', '#filter'].map((e) => document.querySelector(e).getClientRects().length > 0);"
        )
        assert page.run(seen) == [False, True, False]


def furnished(pair: Pair) -> Pair:
    """A run with everything that a report can show."""
    run, evidence = pair
    cost = CostResult(
        name="cpuid", title="CPUID", samples=6, minimum=900, median=1000, p99=1500, histogram=((861, 2), (1024, 4))
    )
    nics = (NicResult(name="e1000", title="82540EM", packets=10, exits=40, seconds=1), NicResult(name="x", title="X"))
    disks = (DiskResult(name="pvscsi", title="PVSCSI", requests=10, size=4096, exits=10, seconds=1),)
    cases = tuple(case.id for case in evidence.cases[:1])
    known = KnownDeviation(id="d", reason="known", cite=("C",), cases=cases)
    technique = Technique("real mode", "interpretation", "claim.x", "it says otherwise")
    fields = {name: getattr(run, name) for name in run.__slots__}
    run = Run(**{**fields, "deviations": (known,), "techniques": (technique,)})
    measured = {"costs": (cost,), "nics": nics, "disks": disks}
    return run, Evidence(**{name: getattr(evidence, name) for name in evidence.__slots__} | measured)


@pytest.mark.parametrize(
    ("name", "how"), [("firmware off", {}), ("software backend", {"width": 400, "dark": True})], ids=["light", "dark"]
)
def test_axe_finds_nothing(
    name: str, how: dict[str, Any], runs: dict[str, Pair], browser: Browser, tmp_path: Path
) -> None:
    with opened(browser, tmp_path, render_html(*furnished(runs[name])), **how) as page:
        assert page.axe() == []
