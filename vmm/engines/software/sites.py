"""Instructions that need more than Unicorn gives them: found when their block is translated, seen before they run."""

from __future__ import annotations

import ctypes
import re
from functools import partial
from typing import TYPE_CHECKING

from virtproof.vmm.engines.software.cpu import Cpu
from virtproof.vmm.engines.software.decode import PREFIXES, Instruction, decode
from virtproof.vmm.engines.software.layout import library
from virtproof.vmm.engines.software.linear import LinearMemory
from virtproof.vmm.engines.software.native import Gate

if TYPE_CHECKING:
    from unicorn import Uc

LONGEST = 15  # bytes of an instruction


class Sites:
    """The linear addresses at which there was once such an instruction."""

    def __init__(self, uc: Uc, cpu: Cpu, memory: LinearMemory, gate: Gate) -> None:
        from unicorn.unicorn_const import UC_PROT_EXEC  # noqa: PLC0415

        self._cpu, self._memory, self._gate = cpu, memory, gate
        self._found: set[int] = set()
        self._code = ctypes.create_string_buffer(LONGEST)
        self._read = partial(library().uc_vmem_read, uc._uch)
        self._rights = ctypes.c_int(UC_PROT_EXEC)

    def scan(self, address: int, size: int, sites: re.Pattern[bytes]) -> None:
        """Watch what may be one in a block that is new at a linear address."""
        code = self._memory.peek(address, size)
        for match in sites.finditer(code):
            at = match.start()
            self._add(address + at)
            while at and (code[at - 1] in PREFIXES or code[at - 1] & 0xF0 == 0x40):
                at -= 1
                self._add(address + at)

    def _add(self, address: int) -> None:
        self._found.add(address)
        self._gate.watch(address)

    def __contains__(self, address: int) -> bool:
        return address in self._found

    def instruction(self, address: int, size: int) -> Instruction | None:
        """Decode the instruction that is about to run, of ``size`` bytes.  Inside Unicorn too, and fast."""
        size = min(size, LONGEST)
        status = self._read(ctypes.c_uint64(address), self._rights, self._code, ctypes.c_size_t(size))
        code = self._code.raw[:size] if status == 0 else self._memory.peek(address, size)
        return decode(code, self._cpu.code_bits)
