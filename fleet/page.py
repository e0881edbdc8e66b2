"""The page of a fleet: one HTML file without network, usable with ten thousand hosts.

The rows of hosts are data in the page, of which its script shows a hundred at a time; texts that hosts share are in it
once.  What comes from hosts is hostile: autoescape, ``textContent``, and a policy that allows one script only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

from virtproof.fleet.document import Fleet, HostRow
from virtproof.reports.html import sentence

SHOWN = 100  # causes, and groups of one kind
ROWS = 300  # of the other tables
OPTIONS = 300
TONES = {  # what needs attention first
    "not compliant": "bad",
    "error": "bad",
    "unknown": "open",
    "interrupted": "open",
    "unreachable": "calm",
    "failed": "bad",
    "unreadable": "calm",
    "compliant": "good",
}
FIELDS = (
    "host", "verdict", "summary", "system", "bios", "microcode", "kernel", "backend", "proof", "started", "causes",
    "notes", "report",
)  # fmt: skip
COLUMNS = (
    ("host", "Host"), ("verdict", "Verdict"), ("summary", "Why"), ("system", "Model"), ("bios", "BIOS"),
    ("microcode", "Microcode"), ("kernel", "Kernel"), ("backend", "Guests ran on"), ("started", "When (UTC)"),
)  # fmt: skip
GROUP_TITLES = {
    "system": "Model",
    "bios": "BIOS",
    "cpu": "Processor",
    "microcode": "Microcode",
    "kernel": "Kernel",
    "backend": "KVM backend",
    "hypervisor": "Hypervisor below",
    "profile": "Profile",
    "version": "Version of virtproof",
}


def render_page(fleet: Fleet, folder: Path) -> str:
    """The document; links to the reports of hosts are relative to ``folder``, where it will lie."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - slow to import
    from markupsafe import Markup  # noqa: PLC0415

    page = Environment(
        loader=ChoiceLoader([PackageLoader("virtproof.fleet"), PackageLoader("virtproof.reports")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"tone": _tone, "minute": _minute, "sentence": sentence}
    assert page.loader
    script, *styles = (page.loader.get_source(page, name)[0] for name in ("fleet.js", "page.css", "fleet.css"))
    style = "".join(styles)
    causes = [*enumerate(fleet.causes)]
    return page.get_template("fleet.html.j2").render(
        fleet=fleet,
        total=len(fleet.hosts),
        compliant=fleet.verdicts.get("compliant", 0),
        gating=[(number, cause) for number, cause in causes if cause.gates],
        others=[(number, cause) for number, cause in causes if not cause.gates],
        shown=SHOWN,
        rows_shown=ROWS,
        option_limit=OPTIONS,
        fields=FIELDS,
        columns=COLUMNS,
        group_titles=GROUP_TITLES,
        data=Markup(_data(fleet, folder)),
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def _tone(verdict: str) -> str:
    return TONES.get(verdict, "open")


def _minute(started: str) -> str:
    """A time without its seconds; UTC is not said in every row."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:[\d.]+)?(Z|\+00:00)", started)
    return f"{found[1]} {found[2]}" if found else started


def _why(host: HostRow) -> str:
    """What a run says in one sentence, without the verdict and the profile that it begins with: a column has them."""
    return sentence(host.summary.removeprefix(f"{host.verdict.capitalize()} with {host.profile}: "))


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _data(fleet: Fleet, folder: Path) -> str:
    """The rows as JSON: texts as numbers of a list."""
    strings: dict[str, int] = {}

    def shared(text: str) -> int:
        return strings.setdefault(text, len(strings))

    here = quote(os.fsencode(folder.absolute()))

    def row(one: HostRow) -> list[object]:
        why = _why(one)
        texts = [shared(text) for text in (one.verdict, why, *(getattr(one, name) for name in FIELDS[3:9]))]
        texts.append(shared(_minute(one.started)))
        report = os.path.relpath(one.report, here) if one.report else ""
        return [one.host, *texts, one.causes, [*map(shared, one.notes)], report]

    document = {
        "fields": FIELDS,
        "verdicts": [*TONES],
        "tones": TONES,
        "rows": [row(one) for one in fleet.hosts],
        "strings": [*strings],
    }
    text = json.dumps(document, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
