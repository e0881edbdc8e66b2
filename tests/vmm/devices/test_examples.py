"""The examples in the docstrings of the devices work."""

import doctest
from types import ModuleType

import pytest

from virtproof.vmm.devices import (
    apm,
    debug_console,
    debug_exit,
    fw_cfg,
    i8042,
    mc146818,
    piix4_pm,
    port92,
    report,
    reset_control,
    serial,
)

MODULES = (
    apm, debug_console, debug_exit, fw_cfg, i8042, mc146818, piix4_pm, port92, report, reset_control, serial,
)  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
