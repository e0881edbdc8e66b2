"""The examples of docs/vmm.md do what the page says they do."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from virtproof.kvm import Kvm, KvmUnavailable

PAGE = Path(__file__).parents[2] / "docs/vmm.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
CAPITALS, FORTY, TWENTY = "class Capitals", 40, 20


class Example(NamedTuple):
    line: int
    source: str
    output: str


def examples() -> Iterator[Example]:
    text = PAGE.read_text()
    for found in EXAMPLE.finditer(text):
        yield Example(text.count("\n", 0, found.start(1)) + 1, found[1], found[2] or "")


EXAMPLES = [*examples()]


def run(example: Example, names: dict[str, Any]) -> str:
    """What it prints; a traceback names the line of the page."""
    code = compile("\n" * (example.line - 1) + example.source, str(PAGE), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    return printed.getvalue()


@pytest.mark.kvm
def test_the_examples_print_what_the_page_says() -> None:
    try:
        Kvm.open().close()
    except KvmUnavailable as fault:
        pytest.skip(str(fault))
    names: dict[str, Any] = {"__name__": "tour"}
    for example in EXAMPLES:
        assert run(example, names) == example.output, f"{PAGE.name}, line {example.line}"
    names["kvm"].close()


def lines_of_code(source: str) -> int:
    return sum(1 for line in source.splitlines() if line.strip())


def test_the_page_keeps_its_promises() -> None:
    first = EXAMPLES[0].source
    assert lines_of_code(re.sub(r"CODE = bytes.fromhex\(.*?^\)\n", "", first, flags=re.S | re.M)) <= TWENTY
    (device,) = [example.source for example in EXAMPLES if CAPITALS in example.source]
    assert lines_of_code(device) <= FORTY


def test_every_fence_is_an_example_or_an_output() -> None:
    fences = re.findall(r"^```(\w*)$", PAGE.read_text(), re.MULTILINE)
    assert fences.count("python") == len(EXAMPLES)
    assert fences.count("text") == sum(bool(example.output) for example in EXAMPLES)


def test_the_contents_lead_somewhere() -> None:
    text = PAGE.read_text()
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.*)$", text, re.M)}
    assert set(re.findall(r"\(#([^)]*)\)", text)) <= anchors
