"""A PC for a client: what it printed and logged, and a clock that may run fast."""

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


class FastClock:
    """Time of devices that runs ``times`` as fast as ours, so that waits of a firmware do not last."""

    def __init__(self, times: int) -> None:
        self._times = times

    def now(self) -> int:
        return time.monotonic_ns() * self._times


class Client(Computer):
    """A ``Computer`` on the software engine whose output is kept."""

    def __init__(
        self,
        engine: Engine,
        *,
        ram: int = 64 << 20,
        bios: bytes = b"",
        files: Mapping[str, bytes] | None = None,
        times: int = 1,
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
            clock=FastClock(times),
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


def boot_sector() -> bytes:
    """A disk's first sector that ends the machine with STATUS."""
    return EXITED.ljust(510, b"\0") + b"\x55\xaa"
