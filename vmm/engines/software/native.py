"""The few instructions of the host that run at every instruction or store of the guest: for x86-64 hosts.

Unicorn's hooks cost a microsecond in Python and a nanosecond in machine code.  Before each instruction ``Gate`` looks
whether the guest is to stop there, whether an interrupt may be taken, and whether somebody in Python wants to see the
instruction; ``Writes`` notes pages that are written, ``Crossings`` accesses that reach into the next page.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
from typing import Any

from virtproof.spec.fault import Fault
from virtproof.vmm.engines.software.layout import State, library

# fmt: off
_GATE = bytes.fromhex(
    "48 8d 05 f9 07 00 00"     #          lea rax, [rip + 7f9h]: the words below
    "48 89 70 30"              #          mov [rax + 48], rsi: the address
    "83 38 00 75 19"           #          cmp dword [rax], 0; jne kicked
    "83 78 04 00 75 21"        # irq:     cmp dword [rax + 4], 0; jne window
    "83 78 08 00 75 25"        # nmi:     cmp dword [rax + 8], 0; jne shadow
    "0f b7 ce"                 # site:    movzx ecx, si: the low half of the address
    "0f a3 88 00 08 00 00"     #          bt dword [rax + 800h], ecx
    "72 24 c3"                 #          jc watched; ret
    "ff 08 75 e3"              # kicked:  dec dword [rax]; jnz irq
    "c7 40 0c 01 00 00 00"     # stop:    mov dword [rax + 12], 1
    "ff 60 20"                 #          jmp [rax + 32]: uc_emu_stop
    "48 8b 48 10 f6 41 01 02"  # window:  mov rcx, [rax + 16]; test byte [rcx + 1], 2: RFLAGS.IF
    "74 d5"                    #          jz nmi
    "48 8b 48 18 f6 01 08"     # shadow:  mov rcx, [rax + 24]; test byte [rcx], 8: after STI or MOV SS
    "75 d2 eb e1"              #          jnz site; jmp stop
    "ff 60 28"                 # watched: jmp [rax + 40]
)
_WRITES = bytes.fromhex(       # rdx: the address, ecx: bytes, r9: first address and bitmap
    "89 c8 49 2b 11"           #          mov eax, ecx; sub rdx, [r9]
    "48 8d 4c 02 ff"           #          lea rcx, [rdx + rax - 1]
    "48 c1 ea 0c 48 c1 e9 0c"  #          shr rdx, 12; shr rcx, 12
    "49 8b 41 08"              #          mov rax, [r9 + 8]
    "48 0f ab 10 48 0f ab 08"  #          bts [rax], rdx; bts [rax], rcx
    "c3"                       #          ret
)
_CROSSINGS = bytes.fromhex(    # edx: the address, ecx: bytes, r8: the value, r9: where they are noted
    "89 d0 25 ff 0f 00 00"     #          mov eax, edx; and eax, 0fffh
    "01 c8 2d 00 10 00 00"     #          add eax, ecx; sub eax, 1000h
    "76 0c"                    #          jbe none
    "41 89 01 41 89 49 04"     #          mov [r9], eax; mov [r9 + 4], ecx
    "4d 89 41 08 c3"           #          mov [r9 + 8], r8; ret
    "41 c7 01 00 00 00 00 c3"  # none:    mov dword [r9], 0; ret
)
# fmt: on
_WORDS_AT, _SITES_AT, _WRITES_AT, _CROSSINGS_AT, _SIZE = 0x800, 0x1000, 0x200, 0x280, 0x3000


class Words(ctypes.Structure):
    """What the gate looks at; the pointers are its own business."""

    _fields_ = (
        ("kick", ctypes.c_uint32),
        ("interrupt", ctypes.c_uint32),
        ("nmi", ctypes.c_uint32),
        ("stopped", ctypes.c_uint32),
        ("rflags", ctypes.c_uint64),
        ("hflags", ctypes.c_uint64),
        ("stop", ctypes.c_void_p),
        ("watched", ctypes.c_void_p),
        ("address", ctypes.c_uint64),
    )


class Crossing(ctypes.Structure):
    """An access of ``size`` bytes, of which ``rest`` lie in the next page; no ``rest``: the last one did not cross."""

    _fields_ = (("rest", ctypes.c_uint32), ("size", ctypes.c_uint32), ("value", ctypes.c_uint64))


class WriteLog(ctypes.Structure):
    """Where writes from ``first`` on are noted: a bit a page."""

    _fields_ = (("first", ctypes.c_uint64), ("bitmap", ctypes.c_void_p))


class Gate:
    """What happens before each instruction.

    ``words.kick``: 1 stops before the next one, 2 before the one after it.  ``words.interrupt`` and ``words.nmi`` stop
    before the first one where such an interrupt may be taken.  ``words.stopped`` says that one of them did.
    ``words.address`` is the linear address of the instruction at hand.
    """

    def __init__(self, state: State, watched: int) -> None:
        """``watched`` is the address of a C function of Unicorn's kind for hooks of instructions."""
        if platform.machine() not in ("x86_64", "AMD64"):
            raise Fault(
                "start the software engine", f"this host is {platform.machine()}", "use the engine on an x86-64 host"
            )
        try:
            self._memory = mmap.mmap(-1, _SIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        except OSError as err:
            raise Fault(
                "map memory for translated code", str(err.strerror), "allow writable executable memory here"
            ) from err
        for at, code in ((0, _GATE), (_WRITES_AT, _WRITES), (_CROSSINGS_AT, _CROSSINGS)):
            self._memory[at : at + len(code)] = code
        self.words = Words.from_buffer(self._memory, _WORDS_AT)  # which keep the memory, whoever has them
        self._base = ctypes.addressof(self.words) - _WORDS_AT
        self.words.rflags = ctypes.addressof(state) + State.rflags.offset
        self.words.hflags = ctypes.addressof(state) + State.hflags.offset
        self.words.stop = ctypes.cast(library().uc_emu_stop, ctypes.c_void_p).value
        self.words.watched = watched
        self._sites = (ctypes.c_ubyte * 0x2000).from_address(self._base + _SITES_AT)

    def watch(self, address: int) -> None:
        """Have ``watched`` called before the instruction at a linear address, and perhaps at others."""
        self._sites[(address & 0xFFFF) >> 3] |= 1 << (address & 7)

    @property
    def code(self) -> int:
        """The address of the hook for instructions."""
        return self._base

    @property
    def writes(self) -> int:
        """The address of the hook for writes; its data is a WriteLog."""
        return self._base + _WRITES_AT

    @property
    def crossings(self) -> int:
        """The address of the hook for accesses; its data is a Crossing."""
        return self._base + _CROSSINGS_AT


@functools.cache
def _hook_add() -> Any:
    return library().uc_hook_add


def add_hook(uc: Any, kind: int, function: int, data: int = 0, begin: int = 1, end: int = 0, *more: int) -> int:
    """Add a hook in machine code, which Unicorn's Python interface does not do; return its handle."""
    from unicorn import UcError  # noqa: PLC0415

    handle = ctypes.c_size_t()
    status = _hook_add()(
        uc._uch, ctypes.byref(handle), ctypes.c_int(kind), ctypes.c_void_p(function), ctypes.c_void_p(data),
        ctypes.c_uint64(begin), ctypes.c_uint64(end), *(ctypes.c_int(value) for value in more),
    )  # fmt: skip
    if status:
        raise UcError(status)
    return handle.value


def delete_hook(uc: Any, handle: int) -> None:
    """Delete a hook that ``add_hook`` made."""
    library().uc_hook_del(uc._uch, ctypes.c_size_t(handle))
