"""Which loader takes a file: by its content, or by the name of a format."""

from __future__ import annotations

from collections.abc import Callable

from virtproof.spec import elf as spec
from virtproof.vmm.loaders import bzimage, elf64, flat, multiboot, pvh
from virtproof.vmm.loaders.elf import Elf, is_elf
from virtproof.vmm.loaders.image import Image, Kernel

FORMATS: dict[str, Callable[[Kernel, int], Image]] = {
    "flat": flat.load,
    "bzimage": bzimage.load,
    "multiboot": multiboot.load,
    "pvh": pvh.load,
    "elf64": elf64.load,
}


def detect(kernel: Kernel) -> str:
    """Return the name of the format.  Raises LoadError where none fits.

    A 64-bit ELF file may carry a Multiboot header for its later conversion: without addresses it decides nothing.
    """
    content = kernel.content
    header = multiboot.find_header(content)
    if is_elf(content):
        elf = Elf(kernel)
        if header is not None and (elf.bits == 32 or multiboot.has_addresses(content, header)):
            return "multiboot"
        if pvh.find_entry(elf) is not None:
            return "pvh"
        if elf.machine == spec.EM_X86_64 and elf.bits == 64:
            return "elf64"
        raise kernel.refuse(
            "a 32-bit ELF file with neither Multiboot header nor PVH note", "give it one; virtproof guest --help"
        )
    if header is not None:
        return "multiboot"
    if bzimage.is_bzimage(content):
        return "bzimage"
    if flat.is_flat(content):
        return "flat"
    raise kernel.refuse(
        "no kernel this monitor knows: no ELF file, no Multiboot header, no boot sector",
        "if it is a flat image, say so with --format flat",
    )


def load(kernel: Kernel, ram: int, format_: str = "auto") -> Image:
    """Lay the kernel out in ``ram`` bytes of memory; ``format_`` is a key of FORMATS, or auto.  Raises LoadError."""
    return FORMATS[detect(kernel) if format_ == "auto" else format_](kernel, ram)
