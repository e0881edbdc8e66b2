"""fw_cfg through its two ports: numbers about the machine that a kernel asks for by key (spec/fw_cfg.py).

Omitted: files, DMA, and writing, which the interface has lost anyway.  An unknown item has no bytes; past the end of an
item every read gives 0.
"""

from collections.abc import Mapping

from virtproof.spec.fw_cfg import KEY_MASK


class FwCfg:
    """``items``: key to content.  A word written to the first port selects, each read of the second gives a byte.

    >>> device = FwCfg({5: bytes([2, 0])})
    >>> device.write(0, 2, 5); device.read(1, 1)
    2
    """

    def __init__(self, items: Mapping[int, bytes]) -> None:
        self._items = dict(items)
        self._content, self._at = b"", 0

    def read(self, offset: int, size: int) -> int:
        return self._next() if offset else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 2:
            self._content, self._at = self._items.get(value & KEY_MASK, b""), 0

    def _next(self) -> int:
        if self._at >= len(self._content):
            return 0
        self._at += 1
        return self._content[self._at - 1]
