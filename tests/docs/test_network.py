"""The example of docs/network.md does what the page says it does."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/network.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n```text\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def test_the_example_prints_what_the_page_says() -> None:
    found = EXAMPLE.findall(PAGE.read_text())
    assert len(found) == 1
    for source, output in found:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(source, str(PAGE), "exec"), {})
        assert printed.getvalue() == output
