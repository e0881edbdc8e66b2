"""MSI and MSI-X: PCI Local Bus Specification 3.0, "Message Signaled Interrupts".

Omitted: per-vector masking of MSI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from virtproof.spec.pci import MSIX_ENTRY, MSIX_VECTORS, MsiControl, MsixControl
from virtproof.vmm.pci.registers import ConfigRegisters

Send = Callable[[int, int], None]  # address, data


@dataclass(frozen=True, slots=True)
class Msi:
    """What a function offers: ``vectors`` is a power of two up to 32; ``wide`` addresses have 64 bits."""

    vectors: int = 1
    wide: bool = True
    offset: int = 0  # in configuration space; 0: the next free place


@dataclass(frozen=True, slots=True)
class Msix:
    """What a function offers: how many vectors, and where in which BAR the table and the pending bits lie."""

    vectors: int
    bar: int
    table: int
    pba: int
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.vectors <= MSIX_VECTORS:
            raise ValueError(f"{self.vectors} MSI-X vectors")


class MsiMessages:
    """The MSI capability at ``offset``; ``changed`` is called after a write to its control register."""

    def __init__(
        self, msi: Msi, config: ConfigRegisters, offset: int, send: Send, changed: Callable[[int], None]
    ) -> None:
        self._config, self._offset, self._send = config, offset, send
        self._wide = msi.wide
        self._control = offset + 2
        control = MsiControl(0).but(capable=msi.vectors.bit_length() - 1, wide=msi.wide)
        writable = MsiControl(0).but(enable=1, enabled=0b111)
        config.add(self._control, 2, control, writable=writable, written=changed)
        config.add(offset + 4, 4, writable=0xFFFF_FFFC)
        if msi.wide:
            config.add(offset + 8, 4, writable=0xFFFF_FFFF)
        config.add(self._data, 2, writable=0xFFFF)

    @staticmethod
    def size(msi: Msi) -> int:
        return 14 if msi.wide else 10

    @property
    def _data(self) -> int:
        return self._offset + (12 if self._wide else 8)

    @property
    def enabled(self) -> bool:
        return bool(self._config.get(self._control, 2) & 1)

    def send(self, vector: int) -> None:
        control = MsiControl(self._config.get(self._control, 2))
        address = self._config.get(self._offset + 4, 8 if self._wide else 4)
        enabled = 1 << min(control.enabled, control.capable)  # more than it asked for was never granted
        data = self._config.get(self._data, 2) & ~(enabled - 1) | vector & (enabled - 1)
        self._send(address, data)


class MsixMessages:
    """The MSI-X capability at ``offset``, with its table and its pending bits."""

    SIZE = 12

    def __init__(
        self, msix: Msix, config: ConfigRegisters, offset: int, send: Send, changed: Callable[[int], None]
    ) -> None:
        self._config, self._control, self._send = config, offset + 2, send
        self._vectors = msix.vectors
        self._pending: set[int] = set()
        self._table = bytearray()
        self._clear()

        def written(control: int) -> None:
            changed(control)
            self._deliver()

        config.add(
            self._control,
            2,
            MsixControl(0).but(last=msix.vectors - 1),
            writable=MsixControl(0).but(function_mask=1, enable=1),
            written=written,
        )
        config.add(offset + 4, 4, msix.table | msix.bar)
        config.add(offset + 8, 4, msix.pba | msix.bar)
        self.table, self.pba = _Table(self), _Pending(self)

    @property
    def enabled(self) -> bool:
        return bool(self._config.get(self._control, 2) & 0x8000)

    def send(self, vector: int) -> None:
        """Send a message, or let it wait while its vector or all are masked; a vector that is not there is ignored."""
        if 0 <= vector < self._vectors:
            if self._masked(vector):
                self._pending.add(vector)
            else:
                self._message(vector)

    def reset(self) -> None:
        self._clear()

    def state(self) -> dict[str, Any]:
        return {"table": self._table.hex(), "pending": sorted(self._pending)}

    def restore(self, state: dict[str, Any]) -> None:
        table, pending = bytearray.fromhex(state["table"]), set(state["pending"])
        if len(table) != len(self._table) or not pending <= set(range(self._vectors)):
            raise ValueError("an MSI-X table of another function")
        self._table, self._pending = table, pending

    def read_table(self, offset: int, size: int) -> int:
        return int.from_bytes(self._table[offset : offset + size], "little")

    def write_table(self, offset: int, size: int, value: int) -> None:
        if size in (4, 8) and offset % size == 0:  # "MSI-X Table": nothing smaller is defined
            keep = value
            for at in range(offset, offset + size, 4):
                word = keep & 0xFFFF_FFFF
                keep >>= 32
                if at % MSIX_ENTRY == 12:
                    word &= 1  # the other bits are reserved
                elif at % MSIX_ENTRY == 0:
                    word &= 0xFFFF_FFFC
                self._table[at : at + 4] = word.to_bytes(4, "little")
            self._deliver()

    def read_pending(self, offset: int, size: int) -> int:
        bits = sum(1 << vector for vector in self._pending)
        return bits >> 8 * offset & (1 << 8 * size) - 1

    def _masked(self, vector: int) -> bool:
        return bool(self._config.get(self._control, 2) & 0x4000 or self._table[vector * MSIX_ENTRY + 12] & 1)

    def _message(self, vector: int) -> None:
        at = vector * MSIX_ENTRY
        address, data = self._table[at : at + 8], self._table[at + 8 : at + 12]
        self._send(int.from_bytes(address, "little"), int.from_bytes(data, "little"))

    def _deliver(self) -> None:
        if self._pending and self.enabled:
            for vector in sorted(self._pending):
                if not self._masked(vector):
                    self._pending.discard(vector)
                    self._message(vector)

    def _clear(self) -> None:
        self._pending.clear()
        self._table = bytearray((bytes(12) + b"\1\0\0\0") * self._vectors)


class _Table:
    def __init__(self, messages: MsixMessages) -> None:
        self.read, self.write = messages.read_table, messages.write_table


class _Pending:
    """Pending bits; software that writes them does something undefined, and nothing happens here."""

    def __init__(self, messages: MsixMessages) -> None:
        self.read = messages.read_pending

    def write(self, offset: int, size: int, value: int) -> None: ...
