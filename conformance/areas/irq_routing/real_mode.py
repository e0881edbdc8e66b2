"""The 8259s as a BIOS programs them, in real mode: ICW1 to ICW4 give both of them a vector, then lines interrupt.

The guest has an interrupt table whose vectors, but for two, tell the host of an interrupt that nobody expects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.guest import GuestStopped
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

INITIALIZATION = (Cite("Intel 8259A data sheet", "'Initialization Command Words (ICWs)'"),)
CODE, FIRST, SECOND, OTHERS, STACK = 0x1000, 0x1100, 0x1200, 0x1300, 0x7000
PORT = 0x80
WAITING, RAISE_0, RAISE_8, DONE, STRAY = (
    0x00,
    0x01,
    0x02,
    0x80,
    0xEE,
)  # what the guest tells the host, before its counts or instead
SECONDS = 10.0
# In the order of SeaBIOS: ICW1 to ICW4 and the mask; lines 0, 2 (the slave) and 8 are open.
WORDS = (
    (0x20, 0x11), (0xA0, 0x11), (0x21, 0x08), (0xA1, 0x70), (0x21, 0x04), (0xA1, 0x02), (0x21, 0x01), (0xA1, 0x01),
    (0x21, 0xFA), (0xA1, 0xFE),
)  # fmt: skip


def out(port: int, value: int) -> bytes:
    return bytes((0xB0, value, 0xE6, port))  # mov al, value; out port, al


WINDOW = b"\xfb" + out(PORT, WAITING) * 2 + b"\xfa"  # sti; a while, with exits; cli
MAIN = b"".join(
    (
        *(out(port, value) for port, value in WORDS),
        *(out(PORT, RAISE_0), WINDOW, out(PORT, RAISE_8), WINDOW),
        *(out(PORT, DONE), bytes.fromhex("88 d8 e6 80 88 c8 e6 80 f4")),  # mov al, bl; out; mov al, cl; out; hlt
    )
)
ON_LINE_0 = b"\x50\x43" + out(0x20, 0x20) + b"\x58\xcf"  # push ax; inc bx; the end of an interrupt; pop ax; iret
ON_LINE_8 = b"\x50\x41" + out(0xA0, 0x20) + out(0x20, 0x20) + b"\x58\xcf"  # the same with cx, and both chips
ON_OTHERS = out(PORT, STRAY) + b"\xfa\xf4"


class _Host:
    """Pulses the lines that the guest asks for, and keeps what it says."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.said: list[int] = []

    def read(self, offset: int, size: int) -> int:
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        if value == WAITING and DONE not in self.said:
            return
        self.said.append(value)
        if value in (RAISE_0, RAISE_8) and DONE not in self.said:
            for level in (True, False):
                self._machine.interrupts.set_line(0 if value == RAISE_0 else 8, level)
        elif value == STRAY or self.said[-3:-2] == [DONE]:
            self._machine.stop()


def table() -> Iterator[bytes]:
    for vector in range(256):
        yield struct.pack("<HH", {0x08: FIRST, 0x70: SECOND}.get(vector, OTHERS), 0)


def initialized(engine: Engine) -> Iterable[Check]:
    with Machine(engine, irqchip=True) as machine:
        host = _Host(machine)
        machine.bus.add_ports(PORT, 1, host, "host")
        parts = {0: b"".join(table()), CODE: MAIN, FIRST: ON_LINE_0, SECOND: ON_LINE_8, OTHERS: ON_OTHERS}
        for at, part in parts.items():
            machine.memory.load(at, part)
        machine.vcpu.set_special_registers(modes.real16(machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=CODE, rsp=STACK))
        stopped = machine.run(SECONDS)
    if not host.said:
        raise GuestStopped(str(stopped))
    wanted = [RAISE_0, RAISE_8, DONE, 1, 1]
    want, saw = (" ".join(f"{value:02x}" for value in values) for values in (wanted, host.said))
    yield Check("lines 0 and 8, and how often INT 08H and INT 70H came", want, saw, host.said == wanted)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="irq.pic.icw", title="Programmed as a BIOS does, line 0 is INT 08H and line 8 INT 70H", area="irq_routing",
               mode=Mode.REAL16, cite=INITIALIZATION, script=initialized, seconds=SECONDS),
)
# fmt: on
