"""Saved states that were damaged: refused, or a device that lives."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vmm.virtio.driver import Driver, loop
from virtproof.vmm.devices.virtio.blk import VirtioBlk
from virtproof.vmm.devices.virtio.console import VirtioConsole
from virtproof.vmm.devices.virtio.net import VirtioNet
from virtproof.vmm.devices.virtio.scsi import VirtioScsi
from virtproof.vmm.devices.virtio.transport import PciPersonality
from virtproof.vmm.disks.file import FileDisk
from virtproof.vmm.network.loopback import Loopback

MAKERS: dict[str, Callable[[], PciPersonality]] = {
    "net": lambda: VirtioNet(bytes(6), Loopback(loop.after), loop.after),
    "blk": lambda: VirtioBlk(FileDisk.in_memory(sectors=8), loop.after),
    "scsi": lambda: VirtioScsi({}, loop.after),
    "console": lambda: VirtioConsole(lambda data: None, loop.after),
}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 65), 1 << 65),
    st.floats(),
    st.text(max_size=6),
    st.lists(st.integers(-1, 1 << 17), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(state: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a state, the state itself not among them."""
    inside = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return [place for key, value in inside for place in ((*path, key), *places(value, (*path, key)))]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_damaged_state(kind: str) -> None:
    device = MAKERS[kind]()
    Driver(device).start()
    sound = json.dumps(device.state())
    where = places(json.loads(sound))

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.sampled_from(where), JUNK), min_size=1, max_size=3))
    def damaged(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        state = json.loads(sound)
        for path, junk in changes:
            at = state
            with suppress(TypeError, KeyError, IndexError):  # an earlier change took it away
                for step in path[:-1]:
                    at = at[step]
                at[path[-1]] = junk
        other = MAKERS[kind]()
        driver = Driver(other)
        with suppress(ValueError, TypeError, KeyError):
            other.restore(state)
        for number in range(4):
            driver.kick(number)
        loop.poll()
        json.dumps(other.state())

    damaged()
