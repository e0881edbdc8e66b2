"""The page, CSV and JSON of a fleet, made from hostile runs as well."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest

from tests.browser import Browser
from tests.browser import Page as BrowserPage
from tests.fleet.conftest import BAD, GOOD, NO_KVM, Folder
from virtproof.cli.app import run
from virtproof.fleet.document import SCHEMA, Fleet
from virtproof.fleet.page import render_page
from virtproof.fleet.tables import render_csv, render_json
from virtproof.results_schema import schema_of

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
A4_ACROSS = 1032  # CSS pixels between the margins of the page, which lies on its side
HOSTILE = "</script ></script><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\"'\x1b]0;x\x07{{7*7}}"


class Page(HTMLParser):
    """Elements, links and the text of scripts of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        self.inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data

    @property
    def data(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.scripts[0])
        return document


@pytest.fixture
def fleet(folder: Folder) -> Fleet:
    """Some hosts, one of them hostile."""
    for number in range(5):
        folder.add(f"h{number}", GOOD)
    bad = replace(NO_KVM, title=HOSTILE, cause_text=HOSTILE, remedy_text=HOSTILE)
    host = replace(GOOD.host, bios=HOSTILE, microcode="=cmd|' /C calc'!A0")
    folder.add("host ?#&\"'<b>%20", replace(BAD, summary=f"@{HOSTILE}", findings=(bad,), host=host))
    folder.add("javascript:alert(1)", "{" + HOSTILE)
    (folder.path / "host ?#&\"'<b>%20" / "report.html").touch()
    return folder.merged(baseline=folder.path)


def test_hostile_text_stays_text(fleet: Fleet, folder: Folder) -> None:
    source = render_page(fleet, folder.path)
    page = Page(source)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "b"} - {"b"}
    assert len(page.scripts) == 2
    assert "\x1b" not in source
    assert "{{" not in re.sub(r"<script>.*?</script>", "", source, flags=re.DOTALL).replace("{{7*7}}", "")
    assert "49" not in [attrs.get("value") for _, attrs in page.elements]
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    row = next(row for row in page.data["rows"] if row[0].startswith("host"))
    assert page.data["strings"][row[page.data["fields"].index("bios")]] == HOSTILE.replace("\x1b", "\\x1b").replace(
        "\x07", "\\x07"
    )


def test_the_policy_allows_our_script_and_style_and_nothing_else(fleet: Fleet, folder: Folder) -> None:
    page = Page(render_page(fleet, folder.path))
    policy = next(attrs["content"] for tag, attrs in page.elements if "http-equiv" in attrs) or ""
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [attrs for tag, attrs in page.elements if tag != "a" and {"src", "href"} & attrs.keys()]
    links = [attrs["href"] or "" for tag, attrs in page.elements if tag == "a"]
    assert links
    assert all(link.startswith("#") for link in links)


def test_links_lead_to_the_reports_beside_the_runs(fleet: Fleet, folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    data = Page(render_page(fleet, tmp_path / "out")).data
    links = {row[0]: row[data["fields"].index("report")] for row in data["rows"]}
    (link,) = filter(None, links.values())
    assert (tmp_path / "out" / unquote(link)).resolve() == folder.path / "host ?#&\"'<b>%20" / "report.html"
    assert not re.match(r"[a-z]+:", link)
    assert not {"?", "#", '"', "<"} & set(link)


@pytest.mark.parametrize(
    ("asked", "hosts"),
    [
        ("", 7),
        ("?verdict=compliant&q=h2+dell", 1),
        ("?cause=0", 1),
        ("?microcode=0xa1", 5),
        ("?q=%3Cscript%3E+alert", 1),
        ("?q=nothing", 0),
    ],
)
def test_in_a_browser_a_link_chooses_hosts_and_hostile_text_is_shown(
    fleet: Fleet, browser: Browser, tmp_path: Path, asked: str, hosts: int
) -> None:
    script = """
        const body = document.querySelector("#hosts tbody");
        return [body.rows.length, document.querySelector("#hosts output").value, document.images.length];
    """
    with opened(fleet, browser, tmp_path, f"#hosts{asked}") as page:
        rows, told, images = page.run(script)
        assert (page.complaints(), len(page.requests())) == ([], 1)
    assert (rows, images) == (hosts, 0)
    assert f"of {hosts}" in told if hosts else told == "No host matches; 7 in all"


@pytest.mark.parametrize(("odd", "words"), [(1, "1 host differs from"), (2, "2 hosts differ from")])
def test_hosts_unlike_their_group_are_counted_in_words(folder: Folder, odd: int, words: str) -> None:
    for number in range(8):
        kernel = f"Linux 5.{number}" if number < odd else GOOD.host.kernel
        folder.add(f"h{number}", replace(GOOD, host=replace(GOOD.host, kernel=kernel)))
    assert words in render_page(folder.merged(), folder.path)


def opened(fleet: Fleet, browser: Browser, tmp_path: Path, fragment: str = "", **how: Any) -> BrowserPage:
    """The page in a browser."""
    file = tmp_path / "fleet.html"
    file.write_text(render_page(fleet, tmp_path), encoding="utf-8")
    return browser.page(f"{file.as_uri()}{fragment}", **how)


def test_a_keyboard_searches_and_sorts(fleet: Fleet, browser: Browser, tmp_path: Path) -> None:
    names = "return [...document.querySelectorAll('#hosts tbody th')].map((e) => e.textContent);"
    with opened(fleet, browser, tmp_path) as page:
        page.run("document.querySelector('#hosts input').focus();")
        page.type("h3")
        assert page.run(names) == ["h3"]
        assert page.run("return location.hash;") == "#hosts?q=h3", "a link to what is seen"
        page.press("Tab", "Tab", "Tab", "Enter")  # to "Show all"
        page.press("Tab", "Tab", "Enter")  # past the table, which can be scrolled, to the head of its first column
        first = page.run(names)
        assert len(first) == 7
        page.press("Enter")
        assert page.run(names) == first[::-1]
        assert page.run("return document.querySelector('#hosts th.host').ariaSort;") == "descending"


@pytest.mark.parametrize(("width", "media"), [(1280, ""), (400, ""), (320, ""), (A4_ACROSS, "print")])
def test_nothing_is_cut_off(fleet: Fleet, browser: Browser, tmp_path: Path, width: int, media: str) -> None:
    with opened(fleet, browser, tmp_path, width=width, media=media) as page:
        assert page.cut_off() == []
        assert page.run("return document.documentElement.scrollWidth;") == width


@pytest.mark.parametrize("how", [{}, {"width": 400, "dark": True}], ids=["light", "dark"])
def test_axe_finds_nothing(fleet: Fleet, browser: Browser, tmp_path: Path, how: dict[str, Any]) -> None:
    with opened(fleet, browser, tmp_path, **how) as page:
        assert page.axe() == []


def test_on_paper_are_all_hosts_that_were_chosen(folder: Folder, browser: Browser, tmp_path: Path) -> None:
    for number in range(130):
        folder.add(f"h{number}", GOOD)
    rows = "document.querySelectorAll('#hosts tbody tr').length"
    script = f"""
        const said = [{rows}];
        dispatchEvent(new Event("beforeprint"));
        said.push({rows}, document.querySelectorAll("details:not([open])").length);
        dispatchEvent(new Event("afterprint"));
        return [...said, {rows}];
    """
    with opened(folder.merged(), browser, tmp_path) as page:
        assert page.run(script) == [100, 130, 0, 100]


def test_csv_has_a_line_for_each_host_and_no_formulas(fleet: Fleet) -> None:
    lines = [*csv.DictReader(io.StringIO(render_csv(fleet)))]
    assert [line["host"] for line in lines] == [one.host for one in fleet.hosts]
    assert lines[0]["microcode"].startswith("'=cmd")
    assert lines[0]["summary"].startswith("'@")
    assert lines[-1]["pass"] == "300"
    for line in lines:
        assert not [cell for cell in line.values() if cell[:1] in set("=+-@\t\r")]


def test_json_fits_the_published_schema(fleet: Fleet) -> None:
    published = json.loads((SCHEMAS / "fleet-report.schema.json").read_text())
    assert published == json.loads(json.dumps(schema_of(SCHEMA, Fleet)))
    document = json.loads(render_json(fleet))
    jsonschema.Draft202012Validator(published).validate(document)
    document["hosts"][0]["verdict"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(published).validate(document)


def test_the_command(folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.add("good", GOOD)
    folder.add("bad\x1b[2J", BAD)
    folder.add("broken", "{")
    files = [str(tmp_path / name) for name in ("fleet.html", "fleet.csv", "fleet.json")]
    page, table, document = files
    assert run(["fleet", "report", str(folder.path), "-o", page, "--csv", table, "--json", document]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "3 hosts: 1 not compliant, 1 unreadable, 1 compliant",
        f"! 1 file could not be read, such as {folder.path}/broken/run.json: "
        "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        "     1 host: SVM is off in firmware",
    ]
    assert [line.removeprefix("wrote ") for line in said.err.splitlines()] == files
    assert all(Path(name).stat().st_size for name in files)
    assert run(["fleet", "report", str(tmp_path / "nothing")]) == 64
