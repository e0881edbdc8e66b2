"""Memory slots of a VM of KVM, and the ways to learn which of their pages were written."""

from __future__ import annotations

import ctypes
import errno
import mmap
import struct

from virtproof.kvm import KvmError, enable_cap, ioctl
from virtproof.spec.fault import Fault
from virtproof.spec.kvm import Cap, Ioctl, MemoryFlag
from virtproof.spec.kvm.exits import DirtyLogFlag
from virtproof.vmm.engine import Memory

PAGE = mmap.PAGESIZE

_SLOT = struct.Struct("<IIQQQ")  # struct kvm_userspace_memory_region
_DIRTY_LOG = struct.Struct("<I4xQ")
_CLEAR_DIRTY_LOG = struct.Struct("<IIQQ")


class VmSlots:
    """The ioctls of a VM descriptor that concern memory."""

    fd: int

    def __init__(self) -> None:
        self._slots: dict[int, tuple[int, Memory]] = {}  # keeps what KVM points at alive
        self.ring_bytes = 0  # of each vCPU's dirty ring; 0: none

    def set_slot(
        self, slot: int, gpa: int, memory: Memory, *, read_only: bool = False, log_dirty: bool = False
    ) -> None:
        """Create a slot over all of ``memory``, move it to another ``gpa``, or switch its dirty log."""
        flags = (MemoryFlag.READONLY.value if read_only else 0) | (MemoryFlag.LOG_DIRTY_PAGES.value if log_dirty else 0)
        ioctl(self.fd, Ioctl.SET_USER_MEMORY_REGION, _SLOT.pack(slot, flags, gpa, memory.size, memory.address))
        self._slots[slot] = gpa, memory

    def delete_slot(self, slot: int) -> None:
        ioctl(self.fd, Ioctl.SET_USER_MEMORY_REGION, _SLOT.pack(slot, 0, 0, 0, 0))
        self._slots.pop(slot, None)

    def memory_written(self, gpa: int, length: int) -> None:
        """Nothing: the processor sees it."""

    def dirty_log(self, slot: int) -> bytes:
        """Return the dirty bitmap; it is cleared too, unless ``protect_dirty_pages_by_hand`` was called."""
        if slot not in self._slots:
            raise KvmError(Ioctl.GET_DIRTY_LOG, errno.ENOENT)
        pages = self._slots[slot][1].size // PAGE
        bitmap = ctypes.create_string_buffer((pages + 63) // 64 * 8)
        ioctl(self.fd, Ioctl.GET_DIRTY_LOG, _DIRTY_LOG.pack(slot, ctypes.addressof(bitmap)))
        return bitmap.raw[: (pages + 7) // 8]

    def protect_dirty_pages_by_hand(self, *, initially_set: bool = False) -> None:
        """Make ``dirty_log`` leave the log as it is: ``clear_dirty_log`` clears it, page by page.

        ``initially_set``: a new log says that every page is dirty, and pages are protected only as they are cleared.
        Raises Fault where the kernel does not offer it.
        """
        flags = DirtyLogFlag.MANUAL_PROTECT_ENABLE | (DirtyLogFlag.INITIALLY_SET if initially_set else 0)
        enable_cap(self.fd, Cap.MANUAL_DIRTY_LOG_PROTECT2, "protect dirty pages by hand", int(flags))

    def clear_dirty_log(self, slot: int, bitmap: bytes, first_page: int = 0) -> None:
        """Clear the pages set in ``bitmap``, whose first bit is ``first_page`` (a multiple of 64)."""
        if slot not in self._slots:
            raise KvmError(Ioctl.CLEAR_DIRTY_LOG, errno.ENOENT)
        pages = min(8 * len(bitmap), self._slots[slot][1].size // PAGE - first_page)
        padded = ctypes.create_string_buffer(bitmap, (len(bitmap) + 7) // 8 * 8)
        row = _CLEAR_DIRTY_LOG.pack(slot, max(pages, 0), first_page, ctypes.addressof(padded))
        ioctl(self.fd, Ioctl.CLEAR_DIRTY_LOG, row)

    def enable_dirty_rings(self, entries: int = 4096) -> None:
        """Log dirty pages to a ring a vCPU, made later, instead of bitmaps; ``entries`` is a power of two.

        A backend that interprets guests (kvm_pvm) looks at the ring seldom, and overruns a small one without a word.
        Raises Fault where the kernel does not offer it, or not so many.
        """
        size, tried = entries * 16, f"make dirty rings of {entries} entries"
        cap = Cap.DIRTY_LOG_RING_ACQ_REL
        most = ioctl(self.fd, Ioctl.CHECK_EXTENSION, cap)
        if not most:  # before Linux 6.1; the same on x86
            cap = Cap.DIRTY_LOG_RING
            most = ioctl(self.fd, Ioctl.CHECK_EXTENSION, cap)
        if most and (entries & (entries - 1) or not PAGE <= size <= most):
            raise Fault(tried, f"KVM takes powers of two, {PAGE // 16} to {most // 16}", "ask for such a number")
        enable_cap(self.fd, cap, tried, size)
        self.ring_bytes = size

    def reset_dirty_rings(self) -> int:
        """Watch the pages anew that were collected from all rings; return how many."""
        return ioctl(self.fd, Ioctl.RESET_DIRTY_RINGS)
