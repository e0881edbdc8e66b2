"""PVH: an ELF kernel (Linux's vmlinux is one) whose Xen note names a 32-bit entry; spec/pvh.py names the documents.

It starts in 32-bit protected mode without paging; EBX points at the start info, whose RSDP is 0: the guest has no ACPI
tables.
"""

from __future__ import annotations

from virtproof.spec import pvh as spec
from virtproof.vmm import modes
from virtproof.vmm.loaders.elf import Elf, is_elf
from virtproof.vmm.loaders.image import Image, Kernel
from virtproof.vmm.loaders.layout import Layout
from virtproof.vmm.registers import Registers


def find_entry(elf: Elf) -> int | None:
    """Return the physical address in the note, None where there is no such note."""
    for note in elf.notes():
        if note.name == spec.NOTE_NAME and note.type == spec.PHYS32_ENTRY:
            if len(note.descriptor) not in (4, 8):
                raise elf.kernel.refuse(f"its PVH note has {len(note.descriptor)} bytes where an address is expected")
            return int.from_bytes(note.descriptor, "little")
    return None


def load(kernel: Kernel, ram: int) -> Image:
    if not is_elf(kernel.content):
        raise kernel.refuse("it is not an ELF file, as a PVH kernel must be")
    elf = Elf(kernel)
    entry = find_entry(elf)
    if entry is None:
        raise kernel.refuse(
            f"it has no Xen note of type {spec.PHYS32_ENTRY} (PHYS32_ENTRY)", "for Linux, set CONFIG_PVH=y"
        )
    if entry >= 1 << 32:
        raise kernel.refuse(f"its entry {entry:#x} is out of reach of 32-bit code")
    layout = Layout(kernel, ram)
    elf.load(layout)
    elf.check_entry(entry)
    registers = Registers(rip=entry, rbx=_inform(kernel, layout))
    return Image("pvh", layout.pieces, registers, modes.prot32)


def _inform(kernel: Kernel, layout: Layout) -> int:
    """Place the module and the start info and return the latter's address."""
    info = spec.StartInfo(magic=spec.MAGIC, version=spec.VERSION)
    if kernel.module:
        start = layout.place_module(kernel.module.content)
        info.modlist_paddr = layout.place(spec.Module(paddr=start, size=len(kernel.module.content)), "module table")
        info.nr_modules = 1
    if kernel.arguments:
        info.cmdline_paddr = layout.place_text(kernel.arguments, "command line")
    rows = (spec.MemoryRange(addr=row.start, size=row.end - row.start, type=row.type) for row in layout.map)
    info.memmap_paddr = layout.place(b"".join(map(bytes, rows)), "memory map")
    info.memmap_entries = len(layout.map)
    return layout.place(info, "start info")
