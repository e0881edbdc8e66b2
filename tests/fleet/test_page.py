"""The page, CSV and JSON of a fleet, made from hostile runs as well."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest

from tests.fleet.conftest import BAD, GOOD, NO_KVM, Folder
from virtproof.cli.app import run
from virtproof.fleet.document import SCHEMA, Fleet
from virtproof.fleet.page import render_page
from virtproof.fleet.tables import render_csv, render_json
from virtproof.results_schema import schema_of

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
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


CHROMIUM = (
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
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
    fleet: Fleet, folder: Folder, tmp_path: Path, asked: str, hosts: int
) -> None:
    (tmp_path / "page.html").write_text(render_page(fleet, tmp_path))
    address = f"file://{tmp_path}/page.html#hosts{asked}"
    script = [*CHROMIUM, f"--user-data-dir={tmp_path}/chromium", "--dump-dom", address]
    shown = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60).stdout
    table = re.findall(r"<tbody>.*?</tbody>", shown, re.DOTALL)[-1]
    assert table.count("<tr>") == hosts
    assert f"of {hosts}" in shown if hosts else "No host matches; 7 in all" in shown
    assert "<img" not in shown


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
