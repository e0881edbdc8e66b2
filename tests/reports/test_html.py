"""The HTML report: its structure is what assistive technology needs, its text is only text, and it stays small."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.reports.conftest import made_run, passing_case
from virtproof import reports
from virtproof.reports.charts import cost_chart, disk_rows, nic_rows
from virtproof.reports.html import render_html
from virtproof.results import (
    Backend,
    Baseline,
    Change,
    CostResult,
    DiskResult,
    Evidence,
    KnownDeviation,
    NicResult,
    Run,
    Technique,
    Verdict,
    WaiverTerms,
)

VOID = {"meta", "input", "br", "wbr", "link", "img"}
Pair = tuple[Run, Evidence]


class Page(HTMLParser):
    """Elements in order, and what is inside <script> and <style>; refuses wrong nesting."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.sources: dict[str, str] = {"script": "", "style": "", "packed": ""}
        self.stack: list[str] = []
        self.feed(document)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, f"</{tag}> at line {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.sources:
            acts = "type" not in self.elements[-1][1]
            self.sources[self.stack[-1] if acts else "packed"] += data
        else:
            self.text += data

    def details(self) -> list[dict[str, Any]]:
        """What is packed for the script."""
        found: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(self.sources["packed"])))
        return found

    def all(self, *tags: str) -> Iterator[dict[str, str]]:
        return (attrs for tag, attrs in self.elements if tag in tags)


@pytest.fixture
def page(any_run: Pair) -> Page:
    return Page(render_html(*any_run))


def test_landmarks_and_headings(page: Page) -> None:
    tags = Counter(tag for tag, _ in page.elements)
    assert [tags[tag] for tag in ("main", "h1", "header", "footer", "nav", "title")] == [1] * 6

    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert next(page.all("html"))["lang"] == "en"


def test_every_reference_has_its_target(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert [name for name, number in Counter(ids).items() if number > 1] == []
    assert not [name for name in ids if not name or re.search(r"\s", name)]

    wanted = {attrs["href"] for attrs in page.all("a")}
    assert {href for href in wanted if not href.startswith("#")} == set(), "no network"
    wanted = {href.removeprefix("#") for href in wanted}
    wanted |= {name for _, attrs in page.elements for name in attrs.get("aria-labelledby", "").split()}
    assert wanted <= set(ids)


def test_tables_and_controls_have_names(page: Page) -> None:
    assert all("scope" in attrs for attrs in page.all("th"))
    assert all(attrs.get("role") == "region" and attrs["tabindex"] == "0" for _, attrs in page.elements
               if attrs.get("class") == "scroll")  # fmt: skip
    names = [attrs.get("aria-label") or attrs["aria-labelledby"] for attrs in page.all("section", "nav", "form")]
    names += [attrs["aria-label"] for _, attrs in page.elements if attrs.get("role") == "region"]
    assert len(set(names)) == len(names), "landmarks are told apart by their names"
    for number, (tag, _) in enumerate(page.elements):
        if tag == "input":
            assert page.elements[number - 1][0] == "label"
        if tag == "details":
            assert page.elements[number + 1][0] == "summary"


def test_only_our_script_and_style_may_act(page: Page) -> None:
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    for kind in ("script", "style"):
        source = page.sources[kind]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    scripts = [attrs.get("type") for attrs in page.all("script")]
    assert scripts in ([None], ["application/gzip;base64", None]), "one that acts, and data"
    assert re.fullmatch("[A-Za-z0-9+/=]*", page.sources["packed"])
    assert {name for _, attrs in page.elements for name in attrs if name == "style" or name.startswith("on")} == set()
    assert not list(page.all("img", "link", "iframe", "object", "base"))


def test_hostile_text_stays_text(runs: dict[str, Pair]) -> None:
    document = render_html(*runs["hostile"])

    assert "<script>alert" not in document
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in document
    assert "{{ 7*7 }}" in document
    assert "\\x00 \\x1b[31mred\\x1b[0m \\ud800 \\u202eevil \\ufffe" in document
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e\ufffe]", document)
    assert "… (1044480 more characters)" in document
    document.encode("utf-8")


def test_the_first_screen_answers(runs: dict[str, Pair]) -> None:
    text = " ".join(Page(render_html(*runs["firmware off"])).text.split())

    order = ["Not compliant", "does not meet 3 of 6", "What stands in the way", "switched it off and locked it",
             "Also noticed", "What to do", "Enter the BIOS set-up", "modprobe msr", "not proven, and why",
             "Host and run", "Claims and proofs", "Requirements of profile", "Conformance", "Waivers and deviations",
             "What is unknown", "Facts", "Sign-off"]  # fmt: skip
    start = text.index("Not compliant Skip") if "Not compliant Skip" in text else text.index("Skip to the report")
    places = []
    for words in order:
        start = text.index(words, start)
        places.append(start)
    assert places == sorted(places)
    first_screen = text[: text.index("Host and run System")]
    assert first_screen.count("switched it off and locked it") == 1, "one cause is told once"
    assert first_screen.count("Enter the BIOS set-up") == 1


@pytest.mark.parametrize(
    ("name", "banner"),
    [("software backend", "Guest results describe an emulator"), ("interrupted", "This run is incomplete")],
)
def test_banners(runs: dict[str, Pair], name: str, banner: str) -> None:
    assert banner in render_html(*runs[name])
    assert banner not in render_html(*runs["healthy"])


def test_guests_on_the_software_engine_have_a_banner_of_their_own(runs: dict[str, Pair]) -> None:
    run, evidence = runs["software backend"]
    backend = Backend(engine="software", name="unicorn 2.1.4", software=True)
    document = render_html(replace(run, backend=backend), evidence)
    assert "they say nothing about this host" in document
    assert "unicorn 2.1.4" in document


def test_failing_cases_are_open_and_passing_ones_are_not(runs: dict[str, Pair]) -> None:
    run, evidence = runs["software backend"]
    page = Page(render_html(run, evidence))
    cases = [attrs for attrs in page.all("details") if attrs.get("class") == "case"]

    assert {attrs["data-v"] for attrs in cases if "data-packed" in attrs} == {"pass", "skip"}
    assert len(cases) == len(evidence.cases)
    assert {attrs["data-v"] for attrs in cases if "open" in attrs} == {"fail", "crash", "error"}
    assert {attrs["data-v"] for attrs in cases if "open" not in attrs} == {"pass", "skip"}
    assert {f"case-{case.id}" for case in evidence.cases} == {attrs["id"] for attrs in cases}


def test_only_what_differs_is_marked(runs: dict[str, Pair]) -> None:
    document = render_html(*runs["software backend"])
    marked = re.findall(r'<tr class="mismatch"><th scope="row">(.*?)</th>', document)
    assert marked == ["PTE.D", "PTE"]


def test_without_evidence_the_run_is_enough(runs: dict[str, Pair]) -> None:
    run, _ = runs["software backend"]
    page = Page(render_html(run))

    assert "made without evidence.json.gz" in page.text
    assert {attrs["data-v"] for attrs in page.all("details") if attrs.get("class") == "case"} == {
        "fail",
        "crash",
        "error",
    }
    assert "KVM_INTERNAL_ERROR_EMULATION" in page.text


def test_five_thousand_cases_stay_small(big_run: Pair) -> None:
    run, evidence = big_run
    document = render_html(run, evidence)
    assert len(document.encode()) < 3_000_000
    assert document.count('<details class="case"') == len(evidence.cases) == 5000


def test_a_packed_case_has_everything(runs: dict[str, Pair]) -> None:
    run, evidence = runs["software backend"]
    document = render_html(run, evidence)
    page = Page(document)
    packed = [attrs["id"].removeprefix("case-") for attrs in page.all("details") if "data-packed" in attrs]
    cites = re.findall(r"<li id=\"cite-\d+\">(.*?)</li>", document)
    for name, detail in zip(packed, page.details(), strict=True):
        case = next(case for case in evidence.cases if case.id == name)
        assert detail.get("r", "") == case.reason
        assert detail.get("e", "") == "\n".join(case.evidence)
        assert [html.unescape(cites[number - 1]) for number in detail["c"]] == list(case.cite)
        checks = [
            (field, expected, expected if seen is None else seen, ok)
            for field, expected, seen, ok in detail.get("k", [])
        ]
        assert checks == [(c.field, c.expected, c.observed, c.ok) for c in case.checks]


def test_a_page_has_a_limit_and_says_what_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = random.Random(1)
    cases = [passing_case("a", f"a.{n}.{{}}", "A", "long64") for n in range(40)]
    cases = [replace(case, evidence=(noise.randbytes(2000).hex(),), checks=()) for case in cases]
    monkeypatch.setattr("virtproof.reports.details.LIMIT", 30_000)
    monkeypatch.setattr("virtproof.reports.details.BUDGETS", (1 << 20, 40_000, 0))
    run, evidence = made_run(cases)
    page = Page(render_html(run, evidence))
    assert len(page.sources["packed"]) <= 30_000
    assert [detail.get("m", False) for detail in page.details()] == [False] * 9 + [True] * 31


def test_failing_cases_beyond_the_first_are_packed_and_closed(big_run: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtproof.reports.html.FAILING_BUDGET", 5000)
    monkeypatch.setattr("virtproof.reports.html.OPEN", 3)
    page = Page(render_html(*big_run))
    failing = [attrs for attrs in page.all("details") if attrs.get("data-v") == "fail"]
    assert ["open" in attrs for attrs in failing] == [True] * 3 + [False] * 97
    inside = ["data-packed" not in attrs for attrs in failing]
    assert inside == sorted(inside, reverse=True)
    assert 3 < sum(inside) < 97


def test_evidence_beyond_the_budget_is_named(runs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    run, evidence = runs["software backend"]
    crash = next(case for case in evidence.cases if case.verdict is Verdict.CRASH)
    monkeypatch.setattr("virtproof.reports.html.FAILING_BUDGET", len("".join(crash.evidence[:2])))
    document = render_html(run, replace(evidence, cases=(crash,)))

    assert crash.evidence[1] in document
    assert crash.evidence[2] not in document
    assert f"{len(crash.evidence) - 2} lines more in evidence.json.gz" in document


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two #rrggbb colours, by WCAG 2.1, 'relative luminance'."""

    def luminance(colour: str) -> float:
        channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(theme: int) -> None:
    style = (Path(reports.__file__).parent / "templates/page.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[theme]))
    pairs = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("page", "sheet", "faint")]
    pairs += [(tone, ground) for tone in ("good", "bad", "open", "calm") for ground in (f"{tone}-fill", "sheet")]
    pairs.append(("ink", "open-fill"))

    assert {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs
            if contrast(colours[pair[0]], colours[pair[1]]) < 4.5} == {}  # fmt: skip


def test_what_changed_since_the_baseline(any_run: Pair) -> None:
    run, evidence = any_run
    change = Change(subject="fact", id="cpu.nx", before="<b>True</b>", after="")
    baseline = Baseline(started="2026-05-01T00:00:00Z", version="0.1", profile="p", changes=(change,), left_out=2)
    page = Page(render_html(replace(run, baseline=baseline), evidence))
    assert "Changed since 2026-05-01 00:00:00 UTC" in page.text
    assert "<b>True</b>" in page.text
    assert "is gone" in page.text
    assert "2 more changes" in page.text
    assert "Changed since" not in Page(render_html(run, evidence)).text


def test_how_guests_run(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    said = (
        Technique("real mode", "interpretation", "claim.x"),
        Technique("local APIC", "<b>APICv", "claim.y", "avic is on"),
    )
    page = Page(render_html(replace(run, techniques=said), evidence))
    assert "interpretation" in page.text
    assert "<b>APICv" in page.text
    assert "avic is on" in page.text
    assert "How guests run here" not in Page(render_html(run, evidence)).text


def test_what_exits_cost_is_drawn_on_one_axis(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    common = {"samples": 8, "tsc_khz": 1_000_000, "histogram": ((1000, 6), (2000, 2), (9000, 1))}
    costs = (
        CostResult(name="cpuid", title="<b>CPUID", minimum=1000, median=1000, p99=2000, **common),  # type: ignore[arg-type]
        CostResult(name="boot", title="boot", unit="ns", samples=1, minimum=1, median=900_000, p99=10**6),
        CostResult(name="vmcall", title="VMCALL", reason="not an <i>Intel"),
    )
    chart = cost_chart(costs)
    assert chart
    assert [tick.label for tick in chart.ticks] == ["1 µs", "10 µs"], "booting does not stretch the axis"
    assert [(bar.x, bar.height) for bar in chart.rows[0].bars] == [(0, 30), (144.5, 10)], "up to the 99th percentile"
    assert chart.rows[0].median == 0
    assert chart.rows[1].bars == ()
    page = Page(render_html(run, replace(evidence, costs=costs)))
    assert len([attrs for attrs in page.all("rect") if attrs.get("class") == "plain"]) == 2
    for words in ("<b>CPUID", "not an <i>Intel", "1,000", "900,000"):
        assert words in page.text
    assert "What exits cost" not in Page(render_html(run, evidence)).text


def test_adapters_are_drawn_where_they_were_measured(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    nics = (
        NicResult(name="e1000", title="", packets=100, exits=400, seconds=0.5),
        NicResult(name="virtio", title="", packets=100, exits=100, seconds=0.25),
        NicResult(name="none", title="", reason="no <driver>"),
    )
    assert [(row.rate_bar.width, row.exits_bar.width) for row in nic_rows(nics)] == [(240, 480), (480, 120)]
    page = Page(render_html(run, replace(evidence, nics=nics)))
    assert "none (no <driver>)" in page.text
    assert "Network adapters" not in Page(render_html(run, evidence)).text


def test_controllers_are_drawn_by_requests_of_their_size(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    disks = (
        DiskResult(name="lsi-4k", title="", requests=100, size=4096, exits=300, seconds=0.5),
        DiskResult(name="pvscsi-4k", title="", requests=100, size=4096, exits=100, seconds=0.25),
        DiskResult(name="lsi-64k", title="", requests=10, size=65536, exits=30, seconds=1.0),
        DiskResult(name="none", title="", reason="no <driver>"),
    )
    rows = disk_rows(disks)
    assert [(row.rate_bar.width, row.exits_bar.width) for row in rows] == [(240, 480), (480, 160), (480, 480)]
    assert [round(row.megabytes, 2) for row in rows] == [0.82, 1.64, 0.66]
    page = Page(render_html(run, replace(evidence, disks=disks)))
    for words in ("none (no <driver>)", "200 (0.8)", "Disk controllers"):
        assert words in page.text
    assert "Network adapters" not in page.text
    assert "Disk controllers" not in Page(render_html(run, evidence)).text


@pytest.mark.parametrize("value", [-(2**63), 0, 2**64 - 1])
def test_figures_that_make_no_sense_are_drawn_somewhere(runs: dict[str, Pair], value: int) -> None:
    run, evidence = runs["healthy"]
    cost = CostResult(name="x", title="", samples=1, minimum=value, median=value, p99=value, tsc_khz=value,
                      histogram=((value, value), (value,), (), (1, 1)))  # fmt: skip
    nic = NicResult(name="x", title="", packets=max(value, 1), exits=value, seconds=1e-300)
    disk = DiskResult(name="x", title="", requests=max(value, 1), size=value, exits=value, seconds=1e-9)
    page = Page(render_html(run, replace(evidence, costs=(cost,), nics=(nic,), disks=(disk,))))
    for attrs in page.all("rect", "line"):
        assert all(0 <= float(attrs[name]) <= 480 for name in ("x", "width", "x1") if name in attrs)


def test_waivers_and_deviations_name_owner_and_cases(runs: dict[str, Pair]) -> None:
    run, evidence = runs["firmware off"]
    terms = WaiverTerms(owner="<jane>", reason="no passthrough", expires="2026-03-31")
    findings = tuple(replace(one, terms=terms) if one.waiver else one for one in run.findings)
    known = KnownDeviation(id="kvm-x", reason="KVM does <x>", cite=("arch/x86",), cases=("a.b",))
    page = Page(render_html(replace(run, findings=findings, deviations=(known,)), evidence))
    for words in ("<jane>", "2026-03-31", "no passthrough", "kvm-x", "KVM does <x>", "arch/x86"):
        assert words in page.text


def test_a_requirement_shows_what_it_was_derived_from(runs: dict[str, Pair]) -> None:
    run, evidence = runs["healthy"]
    finding = replace(
        run.findings[1], asks="fact svm.present equals yes", facts=("svm.present", "gone"), claims=("svm",),
        cases=("trap.de.div_zero.long64",), evidence=("leading", "SVM: yes", "gone: no"),
    )  # fmt: skip
    facts = tuple(replace(fact, raw="0x75c237ff, CPUs 0-63") for fact in evidence.facts)
    document = render_html(replace(run, findings=(finding,)), replace(evidence, facts=facts))
    section = document[document.index('id="finding-svm.usable"') :].partition('<section id="conformance"')[0]
    for words in ("fact svm.present equals yes", 'href="#fact-svm.present"', "0x75c237ff, CPUs 0-63",
                  "<pre>leading</pre>", 'href="#claim-svm"', 'href="#case-trap.de.div_zero.long64"'):  # fmt: skip
        assert words in section
    alone = render_html(replace(run, findings=(finding,)))
    assert "SVM: yes" in alone, "without evidence the lines say it"
