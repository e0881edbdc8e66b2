"""The examples of docs/cases.md: the code is executed, the cases pass."""

import re
from pathlib import Path

import pytest

from virtproof.conformance.case import Case
from virtproof.conformance.execute import execute
from virtproof.results import Verdict
from virtproof.vmm.engines.kvm import KvmEngine

PAGE = Path(__file__).parents[2] / "docs/cases.md"


def examples() -> tuple[Case, ...]:
    """The cases that the page builds, one block going on where the one before ended."""
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, str(PAGE), "exec"), names)
    cases = names["CASES"]
    assert isinstance(cases, tuple)
    return cases


CASES = examples()


def test_the_page_has_examples_of_its_own() -> None:
    names = [case.id for case in CASES]
    assert len(names) == len(set(names)) >= 10
    assert all(name.startswith("doc.") for name in names)


@pytest.mark.kvm
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_an_example_passes(engine: KvmEngine, case: Case) -> None:
    result = execute(case, engine)
    assert (result.verdict, result.reason) == (Verdict.PASS, "")
