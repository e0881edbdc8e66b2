"""What a PCI function is connected to in a test: a piece of memory, and a record of its interrupts."""

from __future__ import annotations

from virtproof.spec.pci import COMMAND, Command
from virtproof.vmm.backing import GuestMemoryError
from virtproof.vmm.pci.function import Function


class Wires:
    """Guest memory of ``ram`` bytes from address 0; ``lines`` are the levels of the pin, ``messages`` what was sent."""

    def __init__(self, ram: int = 1 << 20) -> None:
        self.ram = bytearray(ram)
        self.lines: list[bool] = []
        self.messages: list[tuple[int, int]] = []

    def connect(self, function: Function) -> None:
        """Connect a function, and let it decode and master the bus."""
        function.connect(self, self)
        function.write_config(COMMAND, 2, Command(0).but(io=1, memory=1, master=1))

    @property
    def line(self) -> bool:
        """The pin's level now."""
        return bool(self.lines) and self.lines[-1]

    def read(self, gpa: int, length: int) -> bytes:
        self._check(gpa, length)
        return bytes(self.ram[gpa : gpa + length])

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        self._check(gpa, len(data))
        self.ram[gpa : gpa + len(data)] = data

    def set_intx(self, level: bool) -> None:
        self.lines.append(level)

    def send_msi(self, address: int, data: int) -> None:
        self.messages.append((address, data))

    def _check(self, gpa: int, length: int) -> None:
        if not 0 <= gpa <= len(self.ram) - length:
            raise GuestMemoryError(f"reach {length:#x} bytes at {gpa:#x}", "no memory there")
