"""fw_cfg: numbers and files about the machine that a firmware or a kernel asks for by key (spec/fw_cfg.py).

An item that is unknown has no bytes; past the end of an item every read gives 0.  Nothing can be written: writes
through the data port do nothing, those by DMA fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from virtproof.spec import fw_cfg as spec
from virtproof.spec.fw_cfg import Control, Key
from virtproof.vmm.backing import GuestMemoryError

CHUNK = 64 << 10
BEYOND = 16 << 20  # bytes that a DMA access may ask for beyond the end of its item


class Memory(Protocol):
    """Guest memory; both raise GuestMemoryError."""

    def read(self, gpa: int, length: int) -> bytes: ...
    def write(self, gpa: int, data: bytes) -> None: ...


class FwCfg:
    """The two ports.  A word written to the first selects, each read of the second gives a byte.

    ``items``: key to content; ``files``: name to content, which get keys of their own, in the order of their names.
    Raises ValueError for a name that is too long.

    >>> device = FwCfg({5: bytes([2, 0])})
    >>> device.write(0, 2, 5); device.read(1, 1)
    2
    """

    def __init__(self, items: Mapping[int, bytes], files: Mapping[str, bytes] | None = None) -> None:
        self._items = dict(items)
        self._key, self._at = 0, 0
        if files is not None:
            self._add_files(files)

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self.take(1)) if offset else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 2:
            self.select(value)

    def select(self, key: int) -> None:
        self._key, self._at = key & spec.KEY_MASK, 0

    @property
    def left(self) -> int:
        """Bytes before the end of the selected item."""
        return len(self._content) - self._at

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes; zeros follow the end."""
        data = self._content[self._at : self._at + count]
        self.skip(count)
        return data.ljust(count, b"\0")

    def skip(self, count: int) -> None:
        self._at = min(self._at + count, len(self._content))

    def reset(self) -> None:
        self.select(0)

    def state(self) -> dict[str, Any]:
        return {"key": self._key, "at": self._at}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        key, at = state["key"], state["at"]
        if not (type(key) is type(at) is int and 0 <= key <= 0xFFFF and at >= 0):
            raise ValueError(f"item {key}, offset {at}")
        self.select(key)
        self.skip(at)

    @property
    def _content(self) -> bytes:
        return self._items.get(self._key, b"")

    def _add_files(self, files: Mapping[str, bytes]) -> None:
        directory = [spec.COUNT.pack(len(files))]
        for key, (name, content) in enumerate(sorted(files.items()), Key.FILE_FIRST):
            encoded = name.encode("ascii")
            if len(encoded) > spec.NAME_LIMIT:
                raise ValueError(f"{name}: more than {spec.NAME_LIMIT} bytes")
            directory.append(spec.FILE.pack(len(content), key, 0, encoded))
            self._items[key] = content
        self._items[Key.FILE_DIR] = b"".join(directory)


class FwCfgDma:
    """The eight ports behind them: the address of an access in guest memory, carried out when its low half is written.

    An access that cannot be read is ignored, one whose data cannot be moved is marked with ERROR.
    """

    def __init__(self, items: FwCfg, memory: Memory) -> None:
        self._items, self._memory = items, memory
        self._high = 0

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(spec.DMA_SIGNATURE[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4:
            return
        half = int.from_bytes(value.to_bytes(4, "little"))
        if offset < 4:
            self._high = half
            return
        address, self._high = self._high << 32 | half, 0
        try:
            access = self._memory.read(address, spec.DMA_ACCESS.size)
            error = self._carry_out(*spec.DMA_ACCESS.unpack(access))
            self._memory.write(address, error.to_bytes(4))
        except GuestMemoryError:
            pass

    def reset(self) -> None:
        self._high = 0

    def state(self) -> dict[str, Any]:
        return {"high": self._high}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        if type(state["high"]) is not int or not 0 <= state["high"] < 1 << 32:
            raise ValueError(f"high half {state['high']}")
        self._high = state["high"]

    def _carry_out(self, control: int, length: int, address: int) -> int:
        """Return what is left in the control field."""
        items = self._items
        if control & Control.SELECT:
            items.select(control >> 16)
        if control & Control.READ:
            return self._copy(length, address)
        if control & Control.WRITE:
            return Control.ERROR
        if control & Control.SKIP:
            items.skip(length)
        return 0

    def _copy(self, length: int, address: int) -> int:
        if length > self._items.left + BEYOND:
            return Control.ERROR
        for at in range(0, length, CHUNK):
            data = self._items.take(min(CHUNK, length - at))
            try:
                self._memory.write(address + at, data)
            except GuestMemoryError:
                return Control.ERROR
        return 0
