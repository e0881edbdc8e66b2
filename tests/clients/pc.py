"""A PC for a client: what it printed and logged, and a clock that may run fast or slowly."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, Self

from virtproof.spec.fw_cfg import Key
from virtproof.vmm.computer import Computer
from virtproof.vmm.engine import Engine

SERIAL_CONSOLE = {Key.NO_GRAPHIC: b"\1\0"}
NO_MENU = {"etc/show-boot-menu": b"\0\0"}
EXITED = bytes.fromhex("b0 2a e6 f4 f4")  # mov al, 2AH; out F4H, al; hlt
STATUS = 0x2A << 1 | 1


class OtherClock:
    """Time of devices that runs ``times`` as fast as ours.

    Fast, waits of a firmware do not last; slow, a machine that does much else does not spend itself on the guest's
    timer interrupts.
    """

    def __init__(self, times: float) -> None:
        self._times = times

    def now(self) -> int:
        return int(time.monotonic_ns() * self._times)


class Client(Computer):
    """A ``Computer`` on the software engine whose output is kept."""

    def __init__(
        self,
        engine: Engine,
        *,
        ram: int = 64 << 20,
        bios: bytes = b"",
        files: Mapping[str, bytes] | None = None,
        times: float = 1,
        irqchip: Literal["kernel", "user"] = "user",
        **more: Any,
    ) -> None:
        self.output = bytearray()
        super().__init__(
            engine,
            ram=ram,
            transmit=self.output.append,
            bios=bios,
            files=files,
            irqchip=irqchip,
            clock=OtherClock(times),
            **more,
        )

    @property
    def text(self) -> str:
        """What came through COM1."""
        return self.output.decode("ascii", "replace")

    @property
    def log(self) -> str:
        """The firmware's own log: the evidence of what it did."""
        return self.platform.firmware_log.text

    def __enter__(self) -> Self:
        return self


def until(pc: Client, text: str, seconds: float) -> None:
    """Run the guest until COM1 has seen this; fail with what it saw where it does not come."""
    end = time.monotonic() + seconds
    while text not in pc.text and time.monotonic() < end:
        pc.run(0.1)
    assert text in pc.text, pc.text + pc.log


def boot_sector() -> bytes:
    """A disk's first sector that ends the machine with STATUS."""
    return EXITED.ljust(510, b"\0") + b"\x55\xaa"
