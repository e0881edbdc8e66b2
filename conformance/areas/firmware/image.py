"""The BIOS's image: where a processor finds it after a reset, and that it cannot be changed.

The image ends at 4 GiB, and its last 128 KiB are seen below 1 MiB too, until the host bridge's PAM registers turn those
addresses into RAM.  A processor starts 16 bytes below 4 GiB in real mode; a far jump takes it below 1 MiB.
"""

from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.device_script import ConfigWrite, Load, Store, script
from virtproof.conformance.guest import GuestStopped
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite, sdm
from virtproof.vmm.board import Board
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Halt
from virtproof.vmm.machine import Machine

SIZE, TOP = 128 << 10, 1 << 32
VECTOR = 0xFFFF_FFF0
JUMP = bytes.fromhex("ea 00 00 00 f0")  # jmp F000:0000
START = bytes.fromhex(
    "8c c8  8e d8  a1 20 00  31 db  8e db  a3 00 05  8c 0e 02 05  f4"
)  # DS = CS; [0500H] = [F0020H], CS; hlt
WORD = 0x5A17

AFTER = sdm("3A", "Processor Management and Initialization, 'First Instruction Executed'")
PAM = Cite("Intel 82441FX (290549) data sheet", "'PAM[6:0] - Programmable Attribute Map Registers'")


def rom() -> bytes:
    image = bytearray(range(256)) * (SIZE // 256)
    at = SIZE - 0x10000  # F0000H
    image[at : at + 0x40] = START.ljust(0x20, b"\xf4") + WORD.to_bytes(2, "little").ljust(0x20, b"\0")
    image[-16:] = JUMP.ljust(16, b"\xf4")
    return bytes(image)


ROM = rom()


def board(machine: Machine) -> Board:
    return Board(machine, rom=ROM)


def number(offset: int, size: int = 8) -> int:
    return int.from_bytes(ROM[offset : offset + size], "little")


def started(engine: Engine) -> Iterable[Check]:
    """Nobody sets the processor up: it goes from its reset into the ROM."""
    with Machine(engine, ram=2 << 20) as machine:
        board(machine)
        stopped = machine.run(seconds=5)
        if not isinstance(stopped, Halt):
            raise GuestStopped(str(stopped))
        seen = machine.memory.read(0x500, 4)
    want = WORD.to_bytes(2, "little") + b"\0\xf0"
    yield Check(
        "what the code in the ROM stored: a word of the ROM, and CS", want.hex(" "), seen.hex(" "), seen == want
    )


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="fw.map.reset_vector", title="The processor starts in the ROM, at FFFFFFF0H", area="firmware", mode=Mode.REAL16, cite=(AFTER,), script=started),
    script("fw.map.rom_alias",    "The last 128 KiB of the ROM are at E0000H too", "firmware", (PAM,), board,
        Load(VECTOR, 4, number(SIZE - 16, 4)), Load(0xFFFF0, 8, number(SIZE - 16)), Load(0xE0000, 8, number(0)), Load(0xF0000, 8, number(SIZE - 0x10000)), Load(0xEFFF8, 8, number(0xFFF8)),
        Load(TOP - SIZE, 8, number(0)), Load(0xDFFF8, 8, (1 << 64) - 1)),
    script("fw.map.rom_readonly", "Writes to the ROM change nothing, at neither place", "firmware", (PAM,), board,
        Store(VECTOR, 8, 0), Store(VECTOR + 3, 1, 0x55), Load(VECTOR, 8, number(SIZE - 16)), Store(0xFFFF0, 4, 0), Load(0xFFFF0, 8, number(SIZE - 16)), Load(VECTOR, 8, number(SIZE - 16))),
    script("fw.map.rom_alias.ram", "With PAM0 = 30H there is RAM at F0000H, and the ROM is where it was", "firmware", (PAM,), board,
        ConfigWrite(0, 0x59, 1, 0x30), Load(0xFFFF0, 8, 0), Store(0xFFFF0, 8, 0x1234), Load(0xFFFF0, 8, 0x1234), Load(VECTOR, 8, number(SIZE - 16)),
        ConfigWrite(0, 0x59, 1, 0x00), Load(0xFFFF0, 8, number(SIZE - 16)), priority=3),
)
# fmt: on
