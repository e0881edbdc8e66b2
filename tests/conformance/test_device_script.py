"""Cases about devices as tables: what a guest could not walk is refused where the table is written."""

import pytest

from virtproof.conformance.device_script import MOST_ACTS, Handle, Host, Step, script
from virtproof.vmm.board import Board

ACT = Host(lambda board: None)


def table(*steps: Step) -> None:
    script("test.acts", "a rule", "bus", (), Board, *steps)


def test_there_are_as_many_acts_as_a_guest_can_call_for() -> None:
    table(*[ACT] * MOST_ACTS)
    with pytest.raises(ValueError, match="256 acts of the host, and a guest can call 255"):
        table(*[ACT] * (MOST_ACTS + 1))


def test_acts_in_handlers_count() -> None:
    table(*[ACT] * (MOST_ACTS - 1), Handle(0x30, (ACT,)))
    with pytest.raises(ValueError, match="256 acts"):
        table(*[ACT] * (MOST_ACTS - 1), Handle(0x30, (ACT, ACT)))
