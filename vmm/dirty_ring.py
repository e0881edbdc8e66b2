"""The dirty ring of a vCPU: which pages it wrote, in order, without a bitmap.

Linux Documentation/virt/kvm/api.rst, "KVM_CAP_DIRTY_LOG_RING/KVM_CAP_DIRTY_LOG_RING_ACQ_REL".  The kernel writes
entries and marks them dirty; the monitor takes them and marks them for reset; KVM_RESET_DIRTY_RINGS protects the pages
again.
"""

from __future__ import annotations

import mmap
import struct
from ctypes import sizeof
from typing import NamedTuple

from virtproof.spec.kvm.exits import DirtyGfnFlag, PageOffset
from virtproof.spec.kvm.structures import DirtyGfn

_ENTRY = struct.Struct("<IIQ")  # struct kvm_dirty_gfn: flags, slot, offset
assert _ENTRY.size == sizeof(DirtyGfn)


class DirtyPage(NamedTuple):
    """A page that was written: the slot's number, and the page's number in it."""

    slot: int
    page: int


class DirtyRing:
    """The ring of one vCPU; ``size`` in bytes, as it was enabled."""

    def __init__(self, vcpu_fd: int, size: int) -> None:
        self._ring = mmap.mmap(vcpu_fd, size, flags=mmap.MAP_SHARED, offset=PageOffset.DIRTY_LOG.value * mmap.PAGESIZE)
        self._entries, self._next = size // _ENTRY.size, 0

    def collect(self) -> list[DirtyPage]:
        """Take what the vCPU has written since the last time; ``reset_dirty_rings`` of the VM then arms it again."""
        found = []
        for _ in range(self._entries):
            at = self._next * _ENTRY.size
            flags, slot, page = _ENTRY.unpack_from(self._ring, at)
            if not flags & DirtyGfnFlag.DIRTY:
                break
            found.append(DirtyPage(slot, page))
            # x86 stores stay in order: the kernel sees the flag only after the entry was read.
            self._ring[at] = DirtyGfnFlag.RESET.value
            self._next = (self._next + 1) % self._entries
        return found

    def close(self) -> None:
        self._ring.close()
