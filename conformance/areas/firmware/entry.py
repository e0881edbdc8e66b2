"""Direct boot: the state in which a kernel starts, and what it is told, by PVH, Multiboot and the Linux boot protocol.

Each kernel here is the same few instructions, which store registers and halt; what the registers point at is read from
the guest's memory then.  The 64-bit entry runs them too: their encodings mean the same there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from ctypes import sizeof
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.guest import GuestStopped
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec import bzimage, elf, multiboot, pvh
from virtproof.spec.cite import Cite
from virtproof.spec.e820 import RangeType
from virtproof.spec.multiboot import HeaderFlag
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Halt
from virtproof.vmm.firmware import e820
from virtproof.vmm.loaders import bzimage as linux_loader
from virtproof.vmm.loaders import multiboot as multiboot_loader
from virtproof.vmm.loaders import pvh as pvh_loader
from virtproof.vmm.loaders.image import Image, Kernel, LoadError, Module
from virtproof.vmm.loaders.layout import memory_map
from virtproof.vmm.machine import Machine

MIB = 1 << 20
RAM, TEXT, DUMP, STACK = 16 * MIB, 2 * MIB, 4 * MIB, 5 * MIB
ARGUMENTS, MODULE = b"one two=3", Module("disk", b"module " * 1000)
PE, PG, IF, VM = 1 << 0, 1 << 31, 1 << 9, 1 << 17

_PVH = Cite("Xen docs/misc/pvh.pandoc", "'x86/HVM direct boot ABI'")
_MULTIBOOT = Cite("Multiboot Specification 0.6.96", "'Machine state' and 'Boot information format'")
_LINUX = Cite("Linux Documentation/arch/x86/boot.rst", "'32-bit BOOT PROTOCOL' and '64-bit BOOT PROTOCOL'")
_ACPI = Cite("ACPI Specification 6.5", "'INT 15H, E820H - Query System Address Map'")

REGISTERS = ("eax", "ebx", "esi", "ebp", "edi")
_NUMBERS = {"eax": 0, "ecx": 1, "ebx": 3, "ebp": 5, "esi": 6, "edi": 7}
SEGMENTS = ("es", "cs", "ss", "ds")


def _code() -> bytes:
    """Store everything at DUMP, 4 bytes each: registers, EFLAGS, CR0, CR4, segment registers."""
    at = iter(range(DUMP, DUMP + 0x100, 4))

    def store(opcode: int, register: int) -> bytes:
        return bytes((opcode, register << 3 | 0b100, 0x25)) + next(at).to_bytes(4, "little")

    code = b"".join(store(0x89, _NUMBERS[name]) for name in REGISTERS)
    code += b"\xbc" + STACK.to_bytes(4, "little") + b"\x9c\x58" + store(0x89, 0)  # mov esp, STACK; pushf; pop eax
    code += b"\x0f\x20\xc0" + store(0x89, 0) + b"\x0f\x20\xe0" + store(0x89, 0)  # mov eax, cr0; mov eax, cr4
    return code + b"".join(store(0x8C, number) for number in range(len(SEGMENTS))) + b"\xf4"


CODE = _code()
ELSEWHERE = b"\xf4"  # where the kernel is not to be entered it halts, and has stored nothing


class Seen(NamedTuple):
    """What a kernel found."""

    values: dict[str, int]
    memory: Callable[[int, int], bytes]

    def at(self, address: int, kind: str) -> tuple[int, ...]:
        return struct.unpack("<" + kind, self.memory(address, struct.calcsize("<" + kind)))

    def text(self, address: int) -> bytes:
        return self.memory(address, 256).split(b"\0")[0]


Look = Callable[[Seen], Iterable[tuple[str, object, object]]]


def start(engine: Engine, image: Callable[[], Image], look: Look) -> Iterator[Check]:
    try:
        loaded = image()
    except LoadError as fault:
        yield Check("the kernel", "taken", f"refused: {fault.saw}", False)
        return
    with Machine(engine, ram=RAM) as machine:
        loaded.start(machine.memory, machine.vcpu)
        stopped = machine.run(seconds=5)
        if not isinstance(stopped, Halt):
            raise GuestStopped(str(stopped))
        names = (*REGISTERS, "eflags", "cr0", "cr4", *SEGMENTS)
        values = struct.unpack(f"<{len(names)}I", machine.memory.read(DUMP, 4 * len(names)))
        seen = Seen(dict(zip(names, values, strict=True)), machine.memory.read)
        for what, want, saw in look(seen):
            yield Check(what, _shown(want), _shown(saw), want == saw)


def _shown(value: object) -> str:
    return f"{value:#x}" if type(value) is int else str(value)


def case(id_: str, title: str, cite: Cite, image: Callable[[], Image], look: Look, **more: int) -> HostScript:
    run = partial(start, image=image, look=look)
    return HostScript(id=id_, title=title, area="firmware", mode=Mode.PROT32, cite=(cite,), script=run, **more)  # type: ignore[arg-type]


# ---- kernels


def pvh_kernel() -> Image:
    note = (
        bytes(elf.NoteHeader(n_namesz=4, n_descsz=4, n_type=pvh.PHYS32_ENTRY))
        + pvh.NOTE_NAME
        + TEXT.to_bytes(4, "little")
    )
    data = sizeof(elf.Header32) + 2 * sizeof(elf.ProgramHeader32)
    header = elf.Header32(
        e_type=elf.EXECUTABLE, e_machine=elf.EM_386, e_entry=TEXT, e_phoff=sizeof(elf.Header32),
        e_phentsize=sizeof(elf.ProgramHeader32), e_phnum=2,
    )  # fmt: skip
    header.e_ident[:] = [*elf.MAGIC, elf.CLASS32, elf.LITTLE_ENDIAN, 1, *bytes(9)]
    rows = (
        elf.ProgramHeader32(
            p_type=elf.SegmentType.LOAD,
            p_offset=data,
            p_vaddr=TEXT,
            p_paddr=TEXT,
            p_filesz=len(CODE),
            p_memsz=len(CODE),
        ),
        elf.ProgramHeader32(
            p_type=elf.SegmentType.NOTE, p_offset=data + len(CODE), p_filesz=len(note), p_memsz=len(note)
        ),
    )
    return pvh_loader.load(
        Kernel("kernel", b"".join(map(bytes, (header, *rows))) + CODE + note, ARGUMENTS, MODULE), RAM
    )


def multiboot_kernel() -> Image:
    flags = HeaderFlag.ADDRESSES | HeaderFlag.PAGE_ALIGN_MODULES | HeaderFlag.MEMORY_INFO
    header = multiboot.AddressHeader(
        magic=multiboot.MAGIC, flags=flags, checksum=-(multiboot.MAGIC + flags) & 0xFFFF_FFFF,
        header_addr=TEXT, load_addr=TEXT, entry_addr=TEXT + sizeof(multiboot.AddressHeader),
    )  # fmt: skip
    return multiboot_loader.load(Kernel("kernel", bytes(header) + CODE, ARGUMENTS, MODULE), RAM)


def linux_kernel(sectors: int = 4, initrd_max: int = RAM - 1, bits: int | None = None) -> Image:
    made = bytearray(5 * bzimage.SECTOR)
    made[bzimage.JUMP : bzimage.MAGIC_AT + 4] = b"\xeb\x66" + bzimage.MAGIC
    for offset, size, value in (
        (bzimage.SETUP_SECTS, 1, sectors), (bzimage.BOOT_FLAG, 2, bzimage.BOOT_FLAG_VALUE), (bzimage.VERSION, 2, 0x20F),
        (bzimage.LOADFLAGS, 1, bzimage.LOADED_HIGH), (bzimage.CODE32_START, 4, TEXT), (bzimage.XLOADFLAGS, 2, bzimage.KERNEL_64),
        (bzimage.INITRD_ADDR_MAX, 4, initrd_max), (bzimage.CMDLINE_SIZE, 4, 255), (bzimage.PREF_ADDRESS, 8, TEXT),
        (bzimage.RELOCATABLE, 1, 1), (bzimage.INIT_SIZE, 4, MIB),
    ):  # fmt: skip
        made[offset : offset + size] = value.to_bytes(size, "little")
    entries = (CODE, ELSEWHERE) if bits == 32 else (ELSEWHERE, CODE)
    protected = entries[0].ljust(bzimage.ENTRY_64, ELSEWHERE) + entries[1]
    return linux_loader.load(Kernel("kernel", bytes(made) + protected, ARGUMENTS, MODULE), RAM, bits=bits)


# ---- what they must find


def pvh_state(seen: Seen) -> Iterator[tuple[str, object, object]]:
    values = seen.values
    yield "magic at EBX", pvh.MAGIC, seen.at(values["ebx"], "I")[0]
    yield "version", pvh.VERSION, seen.at(values["ebx"] + 4, "I")[0]
    yield "CR0.PE and PG", PE, values["cr0"] & (PE | PG)
    yield "CR4", 0, values["cr4"]
    yield "EFLAGS.IF and VM", 0, values["eflags"] & (IF | VM)
    info = pvh.StartInfo.from_buffer_copy(seen.memory(values["ebx"], sizeof(pvh.StartInfo)))
    module = pvh.Module.from_buffer_copy(seen.memory(info.modlist_paddr, sizeof(pvh.Module)))
    yield "modules", 1, info.nr_modules
    yield "module", MODULE.content, seen.memory(module.paddr, module.size)


def pvh_information(seen: Seen) -> pvh.StartInfo:
    return pvh.StartInfo.from_buffer_copy(seen.memory(seen.values["ebx"], sizeof(pvh.StartInfo)))


def pvh_map(seen: Seen) -> Iterator[tuple[str, object, object]]:
    info = pvh_information(seen)
    want = [(row.start, row.end - row.start, int(row.type)) for row in memory_map(RAM)]
    rows = [seen.at(info.memmap_paddr + 24 * number, "QQI") for number in range(info.memmap_entries)]
    yield "memory map", want, rows


def pvh_arguments(seen: Seen) -> Iterator[tuple[str, object, object]]:
    yield "command line", ARGUMENTS, seen.text(pvh_information(seen).cmdline_paddr)


def multiboot_state(seen: Seen) -> Iterator[tuple[str, object, object]]:
    values = seen.values
    yield "EAX", multiboot.BOOTED, values["eax"]
    yield "CR0.PE and PG", PE, values["cr0"] & (PE | PG)
    yield "EFLAGS.IF and VM", 0, values["eflags"] & (IF | VM)
    yield "lower memory in KiB", 640, multiboot_information(seen).mem_lower
    yield "upper memory in KiB", RAM // 1024 - 1024, multiboot_information(seen).mem_upper
    yield "command line", b"kernel " + ARGUMENTS, seen.text(multiboot_information(seen).cmdline)


def multiboot_information(seen: Seen) -> multiboot.Info:
    return multiboot.Info.from_buffer_copy(seen.memory(seen.values["ebx"], sizeof(multiboot.Info)))


def multiboot_map(seen: Seen) -> Iterator[tuple[str, object, object]]:
    info = multiboot_information(seen)
    rows = [seen.at(info.mmap_addr + at, "IQQI") for at in range(0, info.mmap_length, 24)]
    yield "size field of each entry", {20}, {row[0] for row in rows}
    ram = [(row.start, row.end - row.start) for row in memory_map(RAM) if row.type is RangeType.RAM]
    yield "RAM", ram, [row[1:3] for row in rows if row[3] == RangeType.RAM]


def multiboot_modules(seen: Seen) -> Iterator[tuple[str, object, object]]:
    info = multiboot_information(seen)
    begin, end, text, _ = seen.at(info.mods_addr, "IIII")
    yield "modules", 1, info.mods_count
    yield "on a page", 0, begin % 4096
    yield "module", MODULE.content, seen.memory(begin, end - begin)
    yield "its text", MODULE.name.encode(), seen.text(text)


def linux_state(seen: Seen) -> Iterator[tuple[str, object, object]]:
    values = seen.values
    yield "CS", bzimage.BOOT_CODE, values["cs"] & 0xFFFF
    yield "DS, ES, SS", [bzimage.BOOT_DATA] * 3, [values[name] & 0xFFFF for name in ("ds", "es", "ss")]
    yield "EFLAGS.IF", 0, values["eflags"] & IF
    yield "HdrS at ESI", bzimage.MAGIC, seen.memory(values["esi"] + bzimage.MAGIC_AT, 4)
    yield "command line", ARGUMENTS, seen.text(seen.at(values["esi"] + bzimage.CMD_LINE_PTR, "I")[0])


def linux_32(seen: Seen) -> Iterator[tuple[str, object, object]]:
    yield from linux_state(seen)
    yield "EBP, EDI, EBX", [0, 0, 0], [seen.values[name] for name in ("ebp", "edi", "ebx")]
    yield "CR0.PE and PG", PE, seen.values["cr0"] & (PE | PG)


def linux_64(seen: Seen) -> Iterator[tuple[str, object, object]]:
    yield from linux_state(seen)
    yield "CR0.PE and PG", PE | PG, seen.values["cr0"] & (PE | PG)


def linux_initrd(limit: int, seen: Seen) -> Iterator[tuple[str, object, object]]:
    at, size = seen.at(seen.values["esi"] + bzimage.RAMDISK_IMAGE, "II")
    yield "size", len(MODULE.content), size
    yield "ends where it may", True, at + size - 1 <= limit
    yield "content", MODULE.content, seen.memory(at, size)


def linux_map(seen: Seen) -> Iterator[tuple[str, object, object]]:
    rows = e820.memory_map(RAM)
    at = seen.values["esi"]
    yield "entries", len(rows), seen.memory(at + bzimage.E820_ENTRIES, 1)[0]
    yield "table", e820.packed(rows), seen.memory(at + bzimage.E820_TABLE, bzimage.E820_ENTRY.size * len(rows))


def sorted_map(seen: Seen) -> Iterator[tuple[str, object, object]]:
    at = seen.values["esi"]
    count = seen.memory(at + bzimage.E820_ENTRIES, 1)[0]
    rows = [seen.at(at + bzimage.E820_TABLE + 20 * number, "QQI") for number in range(count)]
    yield "sorted", sorted(rows), rows
    yield "overlaps", 0, sum(a[0] + a[1] > b[0] for a, b in pairwise(rows))
    below = sum(length for start, length, _ in rows if start < MIB)
    usable = sum(length for start, length, kind in rows if kind == RangeType.RAM)
    yield (
        "RAM above 1 MiB",
        RAM - MIB,
        sum(length for start, length, kind in rows if kind == RangeType.RAM and start >= MIB),
    )
    yield "no more RAM than there is", True, usable <= RAM and below <= MIB


# fmt: off
CASES: tuple[Case, ...] = (
    case("boot.pvh.entry_state", "PVH: 32-bit protected mode, EBX at the start info with its module", _PVH, pvh_kernel, pvh_state),
    case("boot.pvh.memmap",      "PVH: the memory map",                            _PVH, pvh_kernel, pvh_map),
    case("boot.pvh.cmdline",     "PVH: the command line",                          _PVH, pvh_kernel, pvh_arguments, priority=2),
    case("boot.mb1.entry_state", "Multiboot: the magic in EAX, EBX at the information", _MULTIBOOT, multiboot_kernel, multiboot_state),
    case("boot.mb1.mmap",        "Multiboot: the memory map",                      _MULTIBOOT, multiboot_kernel, multiboot_map),
    case("boot.mb1.modules",     "Multiboot: the module and its text",             _MULTIBOOT, multiboot_kernel, multiboot_modules, priority=2),
    case("boot.bz.entry32",      "Linux: the 32-bit entry",                        _LINUX, partial(linux_kernel, bits=32), linux_32),
    case("boot.bz.entry64",      "Linux: the 64-bit entry, 200H bytes on",         _LINUX, linux_kernel, linux_64),
    case("boot.bz.setup_sects_zero", "Linux: 0 sectors of set-up code are 4",      _LINUX, partial(linux_kernel, sectors=0), linux_64, priority=2),
    case("boot.bz.initrd_limit", "Linux: the initial RAM disk is below its limit", _LINUX, partial(linux_kernel, initrd_max=8 * MIB - 1), partial(linux_initrd, 8 * MIB - 1)),
    case("boot.bz.initrd_limit.ram", "... and in RAM where the limit is beyond",   _LINUX, partial(linux_kernel, initrd_max=0x7FFF_FFFF), partial(linux_initrd, RAM - 1), priority=3),
    case("boot.bz.zero_page_e820", "Linux: the memory map in the zero page",       _LINUX, linux_kernel, linux_map),
    case("e820.sorted_disjoint", "The memory map is sorted, without overlaps, and has the RAM", _ACPI, linux_kernel, sorted_map),
)
# fmt: on
