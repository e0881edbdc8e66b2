"""A snapshot of a hostile host: nothing in it acts, wherever it is shown."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.probes.imports.samples import CPUINFO
from virtproof.cli.app import run
from virtproof.probes.imports.merge import Dump, import_dumps
from virtproof.probes.snapshot import SCHEMA, checked, dumps

MARK = "PWNED"
EVIL = (
    f"<script>alert('{MARK}')</script>",
    f"\"'><img src=x onerror={MARK}>",
    f"</style><svg onload={MARK}>",
    f"]]></failure><testcase name='{MARK}'/>",
    f"&lt;b&gt;{MARK}&#27;[2J&nosuch;",
    f"\x1b]0;{MARK}\x07\x1b[2J\x9b31m\b\r",
    f"\u202e{MARK}\u2066\u200b\u2028",
    f"{{{{ 7*191 }}}}{{% raw %}}{MARK}",
    f"{{detail}}{{0.__class__}}%s%(x)s{MARK}",
    f"[bold red]{MARK}[/bold red][link=file:///etc/passwd]x[/link]",
    f"../../../../etc/{MARK}",
    f"$(touch {MARK})`touch {MARK}`;touch {MARK}",
    f'=HYPERLINK("http://{MARK}")',
    f"\0{MARK}\ufffe\uffff",
)
NAMES = ("sys_vendor", "product_name", "board_vendor", "board_name", "bios_vendor", "bios_version", "bios_date")


def hostile(evil: str) -> dict[str, Any]:
    """A snapshot with the text in every place that takes free text."""
    unread = [{"what": evil, "cpus": "", "reason": evil}, {"what": "*", "cpus": "", "reason": evil}]
    path = "/sys/" + evil.replace("\0", "")
    return {
        "schema": SCHEMA,
        "tool": evil[:64],
        "taken": "2026-01-01T00:00:00Z",
        "cpus": "0",
        "cpuid": {"how": {evil: "0"}, "values": {}, "unread": unread},
        "msr": {"how": {evil: "0"}, "values": {}, "unread": unread},
        "cpuinfo": {
            "values": {name: {evil: "0"} for name in ("vendor_id", "model name", "microcode", "flags", "vmx flags")},
            "unread": unread,
        },
        "files": {
            "values": {
                path: evil,
                **{f"/sys/class/dmi/id/{name}": evil for name in NAMES},
                "/proc/cmdline": evil,
                "/proc/sys/kernel/osrelease": evil,
                "/sys/module/kvm_intel/parameters/nested": evil,
                "/sys/devices/system/cpu/smt/control": evil,
            },
            "names": {path: [evil], "/sys/class/iommu": [f"dmar{evil}"]},
            "absent": [path],
            "unread": unread,
        },
        "acpi": {"names": [evil[:8]], "tables": {}, "unread": unread},
        "kvm": {
            "backend": {"engine": "kvm", "name": "kvm_intel", "software": False, "detail": evil},
            "create_vm": evil,
            "unread": unread,
        },
        "log": {"lines": [f"kvm: disabled by bios {evil}"], "complete": True, "unread": unread},
        "nodes": {
            "values": {
                "/dev/kvm": {
                    "kind": evil[:64], "number": "", "mode": "0600", "owner": evil[:64], "group": evil[:64],
                    "in_group": False, "access": "",
                }
            },
            "absent": [],
            "root": False,
            "unread": unread,
        },
        "redfish": {
            "system": {"manufacturer": "Dell " + evil, "model": evil, "bios_version": evil},
            "bios": {"attributes": {"ProcVirtualization": evil, "TpmSecurity": evil}, "registry": evil},
            "secure_boot": {"current": evil, "mode": evil},
            "unread": unread,
        },
    }  # fmt: skip


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        places = [value or "" for name, value in attrs if name in {"src", "href"}]
        self.found.append(
            f"{tag} {sorted(names)} {[place for place in places if not place.startswith(('#', 'data:'))]}"
        )
        assert not [name for name in names if name.startswith("on")], tag


@pytest.fixture
def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What a snapshot becomes: HTML, JUnit, words of judge, report and probe, and the JSON documents."""

    def show(document: dict[str, Any]) -> dict[str, str]:
        file, out = tmp_path / "snapshot.json", tmp_path / "run.json"
        file.write_text(dumps(checked(document)))
        found = {}
        for name, arguments in {
            "judge": ["judge", str(file)],
            "json": ["judge", str(file), "--json"],
            "probe": ["probe", "--snapshot", str(file)],
            "probe json": ["probe", "--snapshot", str(file), "--json"],
        }.items():
            assert run(arguments) in {0, 3, 5}, capsys.readouterr().err
            found[name] = capsys.readouterr().out
        out.write_text(found["json"])
        assert run(["report", str(out), "--html", str(tmp_path / "h"), "--junit", str(tmp_path / "j")]) == 0
        assert run(["report", str(out)]) == 0
        found["report"] = capsys.readouterr().out
        found["html"], found["junit"] = (tmp_path / "h").read_text(), (tmp_path / "j").read_text()
        return found

    return show


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_nothing_acts(evil: str, shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, harmless = shown(hostile(evil)), shown(hostile("harmless text"))
    assert MARK in found["html"], "the text did not get there: nothing was tested"
    assert set(Tags(found["html"]).found) <= set(Tags(harmless["html"]).found), "markup of the host's"
    ET.fromstring(found["junit"])
    assert len(ET.fromstring(found["junit"]).findall(".//testcase")) == len(
        ET.fromstring(harmless["junit"]).findall(".//testcase")
    )
    for name in ("judge", "probe", "report"):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]", found[name]), name
    for name in ("html", "junit"):
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]", found[name]), name
    assert "1337" not in found["html"] + found["junit"] + found["judge"], "a template was carried out"
    json.loads(found["json"])
    json.loads(found["probe json"])
    assert {path.name for path in tmp_path.iterdir()} == {"snapshot.json", "run.json", "h", "j"}


@pytest.mark.parametrize("evil", EVIL[::3], ids=range(0, len(EVIL), 3))
def test_nothing_acts_in_a_dump(evil: str, shown) -> None:
    text = CPUINFO.replace("AMD EPYC", evil.replace("\n", " ")).replace("0xa101148", evil)
    snapshot = import_dumps([Dump("x", text.encode("utf-8", "replace"))])
    found = shown(dict(snapshot))
    Tags(found["html"])
    ET.fromstring(found["junit"])
    assert "\x1b" not in found["judge"] + found["probe"] + found["report"]
