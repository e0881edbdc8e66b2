"""The product of permissions on machines that owe nothing to us: they and the model of the walk agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from virtproof.conformance.areas.paging import product
from virtproof.conformance.areas.paging.product import KINDS, Group, Kinds
from virtproof.guest_payloads import bare, images, permissions, start
from virtproof.lab.references.bochs import Bochs
from virtproof.lab.references.emulator import Emulator
from virtproof.lab.references.qemu import Qemu
from virtproof.lab.references.reference import Machine, ReferenceMissing

pytestmark = pytest.mark.lab

CONSOLE = 0xE9
SECONDS = 20.0
MEMORY = 32  # MiB
IN_ROM = 6000  # combinations that fit into a ROM of 1 MiB
BOCHS = Machine("sapphire_rapids", MEMORY), 57  # MAXPHYADDR
OLD_BOCHS = Machine("corei7_icelake_u", MEMORY), 39
QEMU = Machine("max", MEMORY), 40


def found(find: Callable[[], Emulator]) -> Emulator:
    try:
        return find()
    except ReferenceMissing as missing:
        pytest.skip(str(missing))


def differences(machine: tuple[Machine, int], emulator: Emulator, kinds: Kinds, group: Group) -> list[tuple[str, str]]:
    """What the model expects and what was seen, of each combination in which they differ."""
    tries = product.tries(kinds, group, machine[1])
    wrong = []
    for first in range(0, len(tries), IN_ROM):
        part = tries[first : first + IN_ROM]
        made = [product.encoded(kinds.paging, one) for one in part]
        segments = any(one.access.implicit for one in part)
        contents = permissions.pieces(kinds.paging, made, segments=segments, console=CONSOLE)
        rom = bare.rom_of(_start(kinds), contents)
        left = permissions.parse(emulator.console(machine[0], rom, len(b"".join(map(bytes, made))), seconds=SECONDS))
        assert len(left) == len(part)
        places = permissions.tables(kinds.paging, 0).places
        told = (product.differences(kinds.paging, places, one, seen) for one, seen in zip(part, left, strict=True))
        wrong += [differ for differ in told if differ is not None]
    return wrong


def _start(kinds: Kinds) -> dict[int, bytes]:
    stub = images.load("bare")
    mode, _ = permissions.SETTINGS[kinds.paging]
    variables = start.variables(stub, mode, permissions.image_of(kinds.paging))
    cr4 = int(permissions.initial(kinds.paging).cr4)
    return {**variables, stub["start_cr4"]: cr4.to_bytes(4, "little")}


def cheap(kinds: Kinds, group: Group) -> bool:
    """Not what differs in the number of levels alone."""
    return "la57" not in kinds.requires or not group.name


def groups(*names: str) -> pytest.MarkDecorator:
    chosen = [
        (kinds, group) for kinds in KINDS for group in kinds.groups if group.name in names and cheap(kinds, group)
    ]
    return pytest.mark.parametrize(("kinds", "group"), chosen, ids=[kinds.id + group.name for kinds, group in chosen])


@groups("", ".smep", ".smap", ".implicit", ".implicit_smap")
def test_bochs(kinds: Kinds, group: Group) -> None:
    bochs = found(Bochs.find)
    if "la57" in kinds.requires and bochs.name < "bochs 3":
        pytest.skip(f"{bochs.name} has no model with 5-level paging")
    assert differences(BOCHS if "la57" in kinds.requires else OLD_BOCHS, bochs, kinds, group) == []


@groups(".pku", ".pks")
def test_qemu_with_protection_keys(kinds: Kinds, group: Group) -> None:
    """But for P, which its page faults of reserved bits lack."""
    wrong = differences(QEMU, found(Qemu.find), kinds, group)
    codes = {(expected, saw) for expected, saw in wrong}
    assert codes <= {(f"error code {code:#x}", f"error code {code - 1:#x}") for code in range(0x9, 0x20, 2)}
