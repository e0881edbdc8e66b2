"""Python functions as hooks of Unicorn.

Unicorn's own Python interface does the same, and leaves a cycle of references with each, so that every instance stays
until Python's collector of cycles comes by: some megabytes a guest.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from virtproof.vmm.engines.software.layout import library
from virtproof.vmm.engines.software.native import add_hook, delete_hook

if TYPE_CHECKING:
    from unicorn import Uc


class Block(ctypes.Structure):
    """A translated block: ``uc_tb``."""

    _fields_ = (("pc", ctypes.c_uint64), ("instructions", ctypes.c_uint16), ("size", ctypes.c_uint16))


_pointer, _int, _u32, _u64, _i64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
_block = ctypes.POINTER(Block)

# As in <unicorn/unicorn.h> and <unicorn/x86.h>; first comes the instance, last the hook's data.
EXCEPTION = ctypes.CFUNCTYPE(None, _pointer, _u32, _pointer)
INVALID_INSTRUCTION = ctypes.CFUNCTYPE(ctypes.c_bool, _pointer, _pointer)
TRANSLATED = ctypes.CFUNCTYPE(None, _pointer, _block, _block, _pointer)
REFUSED_ACCESS = ctypes.CFUNCTYPE(ctypes.c_bool, _pointer, _int, _u64, _int, _i64, _pointer)
ACCESS = ctypes.CFUNCTYPE(None, _pointer, _int, _u64, _int, _i64, _pointer)
PORT_IN = ctypes.CFUNCTYPE(_u32, _pointer, _u32, _int, _pointer)
PORT_OUT = ctypes.CFUNCTYPE(None, _pointer, _u32, _int, _u32, _pointer)
FAST_CALL = ctypes.CFUNCTYPE(None, _pointer, _pointer)
ANSWER = ctypes.CFUNCTYPE(_int, _pointer, _pointer)  # CPUID, RDTSC: true where it has been carried out
INSTRUCTION = ctypes.CFUNCTYPE(None, _pointer, _u64, _u32, _pointer)
DEVICE_READ = ctypes.CFUNCTYPE(_u64, _pointer, _u64, ctypes.c_uint, _pointer)

Prototype = Callable[[Callable[..., Any]], Any]


class Hooks:
    """The hooks of one instance.  What a function raises stops Unicorn, and waits in ``raised``."""

    def __init__(self, uc: Uc) -> None:
        self._uc = uc
        self._kept: dict[int, Any] = {}  # functions by address
        self._added: dict[int, int] = {}  # addresses by handle
        self.raised: BaseException | None = None

    def callback(self, prototype: Prototype, function: Callable[..., Any]) -> int:
        """Make a C function of ``function`` and return its address."""

        def guarded(uc: int, *arguments: Any) -> Any:
            try:
                return function(*arguments)
            except BaseException as err:  # ctypes would print it and go on
                if self.raised is None:
                    self.raised = err
                self._uc.emu_stop()
                return 0

        made = prototype(guarded)
        address = ctypes.c_void_p.from_buffer(made).value or 0  # ``ctypes.cast`` would make a cycle
        self._kept[address] = made
        return address

    def add(
        self, kind: int, prototype: Prototype, function: Callable[..., Any], *, instruction: int | None = None
    ) -> int:
        """Add a hook, for one kind of instruction where ``kind`` is UC_HOOK_INSN; return its handle."""
        address = self.callback(prototype, function)
        more = () if instruction is None else (instruction,)
        handle = add_hook(self._uc, kind, address, 0, 1, 0, *more)
        self._added[handle] = address
        return handle

    def delete(self, handle: int) -> None:
        delete_hook(self._uc, handle)
        del self._kept[self._added.pop(handle)]

    def close(self) -> None:
        self._kept.clear()


def map_device(uc: Uc, address: int, size: int, read: int) -> None:
    """Map a range whose reads the function at ``read``, a DEVICE_READ, answers; its data is ``address``.

    Writes are lost.
    """
    from unicorn import UcError  # noqa: PLC0415

    status = library().uc_mmio_map(uc._uch, address, size, read, address, None, None)
    if status:
        raise UcError(status)
