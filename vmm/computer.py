"""A whole PC: processors, board, platform and COM1 around what is plugged in; with a BIOS, or to be given a kernel.

    with Computer(engine, ram=64 << 20, transmit=..., bios=Path("bios-256k.bin").read_bytes()) as pc:
        pc.board.add(VirtioBlk(disk, pc.machine.after))
        print(pc.run(seconds=10))

Without a BIOS ``boot`` does what one would do: it places what is plugged in and lays out its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Literal, NamedTuple, Self

from virtproof.spec import piix4
from virtproof.vmm.board import Board
from virtproof.vmm.bus import Trace
from virtproof.vmm.engine import Engine
from virtproof.vmm.events import Clock
from virtproof.vmm.exits import Exit, Shutdown, Timeout
from virtproof.vmm.firmware import post, tables
from virtproof.vmm.firmware.tables import Description
from virtproof.vmm.loaders.image import Image
from virtproof.vmm.loaders.layout import HOLE
from virtproof.vmm.machine import Machine
from virtproof.vmm.platform import Platform
from virtproof.vmm.power_on import PowerOn


class PoweredOff(NamedTuple):
    """The guest has switched the machine off."""

    def __str__(self) -> str:
        return "powered off"


class WantsReset(NamedTuple):
    """The guest wants a reset, and there is no BIOS that could start anew."""

    def __str__(self) -> str:
        return "the guest asked for a reset"


Ended = int | PoweredOff | WantsReset | Exit | Timeout


class Computer:
    """``ram`` in bytes; ``transmit`` gets what the guest sends through COM1, byte by byte.

    ``bios`` is an image such as SeaBIOS's, ``files`` and ``items`` what fw_cfg has for it.  ``irqchip`` says whose the
    interrupt controllers and the 8254 are: KVM's or the monitor's own.  ``clock`` is the time of all
    devices but KVM's.  Use it as a context manager.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        ram: int,
        transmit: Callable[[int], None],
        vcpus: int = 1,
        bios: bytes = b"",
        files: Mapping[str, bytes] | None = None,
        items: Mapping[int, bytes] | None = None,
        irqchip: Literal["kernel", "user"] = "kernel",
        trace: Trace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.ram = ram
        self.resets = 0
        self._bios = bool(bios)
        self._asked: int | PoweredOff | WantsReset | None = None
        self._power_on: PowerOn | None = None
        self.machine = Machine(
            engine,
            vcpus=vcpus,
            ram=ram,
            cpuid=engine.supported_cpuid(),
            irqchip=irqchip,
            pit=True,
            trace=trace,
            clock=clock,
        )
        try:
            self.board = Board(self.machine, rom=bios)
            self.platform = Platform(
                self.board,
                ram=ram,
                start=datetime.now(UTC).replace(tzinfo=None),
                reset_machine=lambda: self._stop(WantsReset()),
                sleep=self._sleep,
                exit_machine=self._stop,
                files=files,
                items=items,
            )
            self.serial = self.machine.add_serial(transmit)
        except BaseException:
            self.machine.close()
            raise

    def boot(self, image: Image) -> None:
        """Put a kernel into memory and the first processor at its entry, with the board as a BIOS would leave it."""
        low_end = min(self.ram, HOLE)
        post.configure(self.board, self.platform, low_end)
        laid = tables.laid_out(self.description)
        self.machine.memory.load(laid.address, laid.data)
        image.start(self.machine.memory, self.machine.vcpu)

    @property
    def description(self) -> Description:
        """What tables tell of this machine."""
        leaf = next((entry for entry in self.machine.vcpu.cpuid() if entry.function == 1), None)
        return Description(
            self.ram,
            tuple(range(len(self.machine.vcpus))),
            leaf.eax if leaf else 0,
            leaf.edx if leaf else 0,
            post.interrupts(self.board),
        )

    def run(self, seconds: float) -> Ended:
        """Run until the guest ends the machine, and say how.  With a BIOS a reset, or a triple fault, starts anew."""
        end = monotonic() + seconds
        if self._bios and self._power_on is None:
            self._power_on = PowerOn(self.machine)
        while True:
            self._asked = None
            stopped = self.machine.run(max(end - monotonic(), 0.001))
            asked = self._asked
            if self._power_on is not None and (isinstance(asked, WantsReset) or isinstance(stopped, Shutdown)):
                if monotonic() >= end:
                    return Timeout(seconds)
                self._reset(self._power_on)
                continue
            if asked is not None:
                return asked
            return Timeout(seconds) if isinstance(stopped, Timeout) else stopped

    def close(self) -> None:
        self.machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _reset(self, power_on: PowerOn) -> None:
        self.resets += 1
        self.board.reset()
        self.platform.reset()
        power_on.again()

    def _sleep(self, kind: int) -> None:
        if kind == piix4.SLEEP_OFF:
            self._stop(PoweredOff())

    def _stop(self, asked: int | PoweredOff | WantsReset) -> None:
        self._asked = asked
        self.machine.stop()
