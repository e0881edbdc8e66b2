"""A bare 64-bit ELF executable: it starts at its entry in 64-bit mode, with everything set up for C code.

Paging maps the first 4 GiB, and all RAM, to themselves by 2-MiB pages, writable and executable; RSP is the top of a
small stack; interrupts are off and there are no descriptor tables: a kernel that wants interrupts or other segments
brings its own.  No registers carry information: there is no protocol to carry it by.
"""

from __future__ import annotations

from functools import partial

from virtproof.spec import elf as spec
from virtproof.vmm import modes
from virtproof.vmm.loaders.elf import Elf
from virtproof.vmm.loaders.image import Image, Kernel
from virtproof.vmm.loaders.layout import HOLE_END, Layout
from virtproof.vmm.loaders.paging import identity_map
from virtproof.vmm.registers import Registers, SpecialRegisters

STACK = 16 << 10


def load(kernel: Kernel, ram: int) -> Image:
    kernel.refuse_extras("a bare ELF kernel")
    elf = Elf(kernel)
    if elf.bits != 64 or elf.machine != spec.EM_X86_64:
        raise kernel.refuse("it is not 64-bit ELF for x86-64", "give a 32-bit kernel a Multiboot header or PVH note")
    layout = Layout(kernel, ram)
    elf.load(layout)
    segment = elf.segment_of(elf.entry)
    if segment.virtual != segment.physical:
        raise kernel.refuse(
            f"its entry {elf.entry:#x} is in a segment at virtual {segment.virtual:#x} and physical "
            f"{segment.physical:#x}, but the map it starts with has no other addresses than physical ones",
            "link the part that starts at its physical address",
        )
    cr3 = identity_map(layout, max(HOLE_END, layout.map[-1].end))
    stack = layout.place(bytes(STACK), "stack", alignment=16)
    # The return address of a function that was never called is zero; the stack is aligned as after a call.
    registers = Registers(rip=elf.entry, rsp=stack + STACK - 8)
    return Image("elf64", layout.pieces, registers, partial(_enter, cr3=cr3))


def _enter(reset: SpecialRegisters, cr3: int) -> SpecialRegisters:
    return modes.long64(reset, cr3)
