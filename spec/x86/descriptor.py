"""Segments, gates and task state: Intel SDM vol. 3A, "Protected-Mode Memory Management", "Interrupt and Exception
Handling", "Task Management"; AMD APM vol. 2, "Segmented Virtual Memory", "Task Management".
"""

import ctypes
from enum import IntEnum
from typing import Self

from virtproof.spec.bits import Bits, bit, bits


class SystemType(IntEnum):
    """The type of a descriptor with S = 0 outside long mode."""

    TSS16_AVAILABLE = 1
    LDT = 2
    TSS16_BUSY = 3
    CALL_GATE16 = 4
    TASK_GATE = 5
    INTERRUPT_GATE16 = 6
    TRAP_GATE16 = 7
    TSS32_AVAILABLE = 9
    TSS32_BUSY = 11
    CALL_GATE32 = 12
    INTERRUPT_GATE32 = 14
    TRAP_GATE32 = 15


class SystemType64(IntEnum):
    """The type of a descriptor with S = 0 in long mode; every other value is reserved."""

    LDT = 2
    TSS_AVAILABLE = 9
    TSS_BUSY = 11
    CALL_GATE = 12
    INTERRUPT_GATE = 14
    TRAP_GATE = 15


class SegmentType(IntEnum):
    """The type of a descriptor with S = 1; bit 0 is the accessed flag."""

    DATA_READ = 0
    DATA_READ_ACCESSED = 1
    DATA_WRITE = 2
    DATA_WRITE_ACCESSED = 3
    DATA_READ_DOWN = 4
    DATA_READ_DOWN_ACCESSED = 5
    DATA_WRITE_DOWN = 6
    DATA_WRITE_DOWN_ACCESSED = 7
    CODE = 8
    CODE_ACCESSED = 9
    CODE_READ = 10
    CODE_READ_ACCESSED = 11
    CODE_CONFORMING = 12
    CODE_CONFORMING_ACCESSED = 13
    CODE_CONFORMING_READ = 14
    CODE_CONFORMING_READ_ACCESSED = 15


# fmt: off
class Selector(Bits, width=16):
    """A segment selector.  With index 0 and TI clear it is null, whatever the RPL."""

    rpl   = bits(1, 0)
    ti    = bit(2, "in the LDT")
    index = bits(15, 3)


class SegmentDescriptor(Bits, width=64):
    """Code and data segments, and TSS and LDT outside long mode."""

    limit_15_0  = bits(15, 0)
    base_23_0   = bits(39, 16)
    type        = bits(43, 40, "SegmentType, or with S clear SystemType")
    s           = bit(44, "1: code or data; 0: system")
    dpl         = bits(46, 45)
    p           = bit(47, "present")
    limit_19_16 = bits(51, 48)
    avl         = bit(52)
    l           = bit(53, "64-bit code; needs D/B clear")  # noqa: E741
    db          = bit(54, "32-bit operands and addresses, or stack")
    g           = bit(55, "the limit counts 4 KiB pages")
    base_31_24  = bits(63, 56)
# fmt: on

    @classmethod
    def at(cls, base: int, limit: int, **fields: int) -> Self:
        """A descriptor of the 32-bit ``base`` and the 20-bit ``limit`` as stored.  Raises ValueError as ``but``."""
        return cls(0).but(
            base_23_0=base & 0xFF_FFFF,
            base_31_24=base >> 24,
            limit_15_0=limit & 0xFFFF,
            limit_19_16=limit >> 16,
            **fields,
        )

    @property
    def base(self) -> int:
        return self.base_23_0 | self.base_31_24 << 24

    @property
    def limit(self) -> int:
        """The limit in bytes: the last offset inside an expand-up segment."""
        stored = self.limit_15_0 | self.limit_19_16 << 16
        return stored << 12 | 0xFFF if self.g else stored


# fmt: off
class SystemDescriptor64(Bits, width=128):
    """TSS and LDT in long mode: 16 bytes."""

    limit_15_0  = bits(15, 0)
    base_23_0   = bits(39, 16)
    type        = bits(43, 40, "SystemType64")
    s           = bit(44, "0")
    dpl         = bits(46, 45)
    p           = bit(47)
    limit_19_16 = bits(51, 48)
    avl         = bit(52)
    g           = bit(55)
    base_63_24  = bits(95, 56)
# fmt: on

    @classmethod
    def at(cls, base: int, limit: int, **fields: int) -> Self:
        """A descriptor of the 64-bit ``base`` and the 20-bit ``limit`` as stored.  Raises ValueError as ``but``."""
        return cls(0).but(
            base_23_0=base & 0xFF_FFFF,
            base_63_24=base >> 24,
            limit_15_0=limit & 0xFFFF,
            limit_19_16=limit >> 16,
            **fields,
        )

    @property
    def base(self) -> int:
        return self.base_23_0 | self.base_63_24 << 24


# fmt: off
class Gate32(Bits, width=64):
    """Call, interrupt and trap gates outside long mode; a task gate uses the selector only."""

    offset_15_0  = bits(15, 0)
    selector     = bits(31, 16)
    count        = bits(36, 32, "call gates: parameters to copy")
    type         = bits(43, 40, "SystemType")
    s            = bit(44, "0")
    dpl          = bits(46, 45)
    p            = bit(47)
    offset_31_16 = bits(63, 48)
# fmt: on

    @classmethod
    def to(cls, selector: int, offset: int, **fields: int) -> Self:
        """A gate to ``selector:offset``.  Raises ValueError as ``but``."""
        return cls(0).but(selector=selector, offset_15_0=offset & 0xFFFF, offset_31_16=offset >> 16, **fields)

    @property
    def offset(self) -> int:
        return self.offset_15_0 | self.offset_31_16 << 16


# fmt: off
class Gate64(Bits, width=128):
    """Call, interrupt and trap gates in long mode: 16 bytes."""

    offset_15_0  = bits(15, 0)
    selector     = bits(31, 16)
    ist          = bits(34, 32, "interrupt and trap gates: stack of the interrupt stack table; 0: none")
    type         = bits(43, 40, "SystemType64")
    s            = bit(44, "0")
    dpl          = bits(46, 45)
    p            = bit(47)
    offset_63_16 = bits(95, 48)
# fmt: on

    @classmethod
    def to(cls, selector: int, offset: int, **fields: int) -> Self:
        """A gate to ``selector:offset``.  Raises ValueError as ``but``."""
        return cls(0).but(selector=selector, offset_15_0=offset & 0xFFFF, offset_63_16=offset >> 16, **fields)

    @property
    def offset(self) -> int:
        return self.offset_15_0 | self.offset_63_16 << 16


_u16, _u32, _u64 = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64


class Tss32(ctypes.LittleEndianStructure):
    """The 32-bit task-state segment; 16-bit fields are followed by 16 reserved bits."""

    _pack_ = 1
    _fields_ = (
        ("link", _u32),
        *((f"{r}{n}", _u32) for n in range(3) for r in ("esp", "ss")),
        *((r, _u32) for r in ("cr3", "eip", "eflags", "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")),
        *((r, _u32) for r in ("es", "cs", "ss", "ds", "fs", "gs", "ldt")),
        ("trap", _u16),
        ("io_map_base", _u16),
    )


class Tss64(ctypes.LittleEndianStructure):
    """The 64-bit task-state segment: no task, only stacks and the I/O bitmap."""

    _pack_ = 1
    _fields_ = (
        ("reserved0", _u32),
        *((f"rsp{n}", _u64) for n in range(3)),
        ("reserved1", _u64),
        *((f"ist{n}", _u64) for n in range(1, 8)),
        ("reserved2", _u64),
        ("reserved3", _u16),
        ("io_map_base", _u16),
    )
