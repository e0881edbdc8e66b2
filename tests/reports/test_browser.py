"""The HTML report in a browser: what its script does, and what axe-core says of it.  Skips where there is none."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from virtproof.reports.html import render_html
from virtproof.results import CostResult, DiskResult, Evidence, KnownDeviation, NicResult, Run, Technique

Pair = tuple[Run, Evidence]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")

# The page unpacks its cases meanwhile, in real time; timers run on virtual time.  So something real is awaited.
SETTLED = """
    const first = document.querySelector("details[data-packed]");
    if (first) first.open = true;
    for (let n = 0; n < 20000 && first && !first.querySelector("div"); n++) await new Response(new Blob(["x"])).text();
"""


def ask(page: str, script: str, tmp_path: Path, fragment: str = "") -> Any:
    """What ``script`` (the body of an async function) returns, run behind the page's own."""
    # The policy lets only the page's own script act, as it should: it is taken away for ours.
    page = re.sub(r"<meta http-equiv[^>]*>", "", page)
    answer = f"(async () => {{ {SETTLED} {script} }})()"
    told = (
        f"{answer}.then((said) => document.title = 'SAID ' + JSON.stringify(said), (e) => document.title = 'BAD ' + e);"
    )
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", f"<script>{told}</script></body>"), encoding="utf-8")
    assert CHROMIUM
    dom = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000",
         "--dump-dom", f"file://{file}{fragment}"],
        capture_output=True, text=True, timeout=120, check=False,
    ).stdout  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title, "the browser gave no page"
    said = html.unescape(title[1])
    assert said.startswith("SAID "), said[:500]
    return json.loads(said.removeprefix("SAID "))


def test_what_the_script_does(runs: dict[str, Pair], tmp_path: Path) -> None:
    run, evidence = runs["software backend"]
    script = """
        const find = (id) => document.getElementById(id);
        const said = {};
        const linked = find("case-trap.de.div_zero.long64");
        said.linked = [linked.open, linked.closest("details.area").open, linked.textContent];
        const other = find("case-pio.out.byte.real16");
        said.before = other.querySelector("pre") === null;
        other.open = true;
        await new Promise((done) => setTimeout(done, 100));
        said.opened = other.querySelector("pre").textContent;
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
        await new Promise((done) => setTimeout(done, 100));
        said.fact = [find("fact-svm.present").hidden, find("fact-svm.present").closest("details").open];
        const closed = () => document.querySelectorAll("details:not([open])").length;
        const earlier = closed();
        dispatchEvent(new Event("beforeprint"));
        said.printed = [closed(), document.querySelectorAll("details.case > div").length];
        dispatchEvent(new Event("afterprint"));
        said.back = closed() === earlier && earlier > 0;
        return said;
    """
    said = ask(render_html(run, evidence), script, tmp_path, "#case-trap.de.div_zero.long64")
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
    assert said["fact"] == [False, True]
    assert said["printed"] == [0, len(evidence.cases)]
    assert said["back"]


def test_hostile_text_is_text_after_the_script_too(runs: dict[str, Pair], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("virtproof.reports.html.FAILING_BUDGET", -1)  # all of it through the script
    script = """
        dispatchEvent(new Event("beforeprint"));
        const open = document.querySelectorAll("details.case > div").length;
        return [open, [...document.scripts].length, document.querySelectorAll("section section, img").length];
    """
    run, evidence = runs["hostile"]
    page = render_html(run, evidence)
    assert ask(page, script, tmp_path) == [len(evidence.cases), 3, 0], "two of the page, one of this test"


def furnished(pair: Pair) -> Pair:
    """A run with everything that a report can show."""
    run, evidence = pair
    cost = CostResult(
        name="cpuid", title="CPUID", samples=6, minimum=900, median=1000, p99=1500, histogram=((861, 2), (1024, 4))
    )
    nics = (NicResult(name="e1000", title="82540EM", packets=10, exits=40, seconds=1), NicResult(name="x", title="X"))
    disks = (DiskResult(name="pvscsi", title="PVSCSI", requests=10, size=4096, exits=10, seconds=1),)
    known = KnownDeviation(id="d", reason="known", cite=("C",), cases=(evidence.cases[0].id,))
    technique = Technique("real mode", "interpretation", "claim.x", "it says otherwise")
    fields = {name: getattr(run, name) for name in run.__slots__}
    run = Run(**{**fields, "deviations": (known,), "techniques": (technique,)})
    measured = {"costs": (cost,), "nics": nics, "disks": disks}
    return run, Evidence(**{name: getattr(evidence, name) for name in evidence.__slots__} | measured)


@pytest.mark.parametrize("name", ["firmware off", "software backend"])
def test_axe_finds_nothing(name: str, runs: dict[str, Pair], tmp_path: Path) -> None:
    spec = find_spec("axe_core_python")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("axe-core-python is not installed")
    axe = (Path(spec.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8").replace("</", "<\\/")
    pair = furnished(runs[name]) if runs[name][1].cases else runs[name]
    page = render_html(*pair).replace("</body>", f"<script>{axe}</script></body>")
    script = """
        dispatchEvent(new Event("beforeprint"));
        const found = await axe.run();
        const said = (v) => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)];
        return [found.passes.length, found.violations.map(said)];
    """
    passes, violations = ask(page, script, tmp_path)
    assert violations == []
    assert passes > 20
