"""The examples in the docstrings of the devices work."""

import doctest
from types import ModuleType

import pytest

from virtproof.vmm.devices import report, serial


@pytest.mark.parametrize("module", [report, serial])
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
