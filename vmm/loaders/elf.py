"""Reads ELF executables: header, segments, notes.  Everything in the file is checked before it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import Structure, sizeof
from typing import NamedTuple, TypeVar

from virtproof.spec import elf
from virtproof.spec.elf import SegmentType
from virtproof.vmm.loaders.image import Kernel
from virtproof.vmm.loaders.layout import Layout

MAX_SEGMENTS = 256  # kernels have a handful; a lying header must not cost minutes
MAX_NOTES = 64 << 10  # bytes of one note segment

_HEADERS = {
    elf.CLASS32: (32, elf.Header32, elf.ProgramHeader32),
    elf.CLASS64: (64, elf.Header64, elf.ProgramHeader64),
}
_MACHINES = {elf.EM_386: "i386", elf.EM_X86_64: "x86-64"}

S = TypeVar("S", bound=Structure)


class Segment(NamedTuple):
    """One program header; offsets and sizes in bytes."""

    type: int
    offset: int
    virtual: int
    physical: int
    in_file: int
    in_memory: int


class Note(NamedTuple):
    """One note: its owner's name with the zero at its end, its type, its descriptor."""

    name: bytes
    type: int
    descriptor: bytes


class Elf:
    """An executable for i386 or x86-64; ``bits`` is 32 or 64, the class of the file.  Raises LoadError."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._content = memoryview(kernel.content)
        ident = kernel.content[:16]
        if not is_elf(ident):
            raise kernel.refuse("it is not an ELF file")
        if len(ident) < 16 or ident[elf.EI_CLASS] not in _HEADERS:
            raise kernel.refuse("its ELF class is neither 32 nor 64 bits")
        if ident[elf.EI_DATA] != elf.LITTLE_ENDIAN:
            raise kernel.refuse("it is not little-endian, as x86 is")
        self.bits, header_type, segment_type = _HEADERS[ident[elf.EI_CLASS]]
        header = self._structure(header_type, 0, "ELF header")
        if header.e_machine not in _MACHINES:
            known = " nor ".join(_MACHINES.values())
            raise kernel.refuse(f"it is for ELF machine {header.e_machine}, which is neither {known}")
        if header.e_type != elf.EXECUTABLE:
            what = "a shared object or position-independent" if header.e_type == elf.SHARED else "not an executable"
            raise kernel.refuse(f"it is {what} (ELF type {header.e_type})", "link it statically, with -no-pie")
        if header.e_phentsize != sizeof(segment_type) or not 0 < header.e_phnum <= MAX_SEGMENTS:
            raise kernel.refuse(
                f"{header.e_phnum} program headers of {header.e_phentsize} bytes is not what an executable has"
            )
        self.machine: int = header.e_machine
        self.entry: int = header.e_entry
        step = sizeof(segment_type)
        rows = (
            self._structure(segment_type, header.e_phoff + index * step, f"program header {index}")
            for index in range(header.e_phnum)
        )
        self.segments = tuple(
            Segment(row.p_type, row.p_offset, row.p_vaddr, row.p_paddr, row.p_filesz, row.p_memsz) for row in rows
        )

    def load(self, layout: Layout) -> None:
        """Put every segment that occupies memory at its physical address."""
        found = False
        for index, segment in enumerate(self.segments):
            if segment.type != SegmentType.LOAD or not segment.in_memory:
                continue
            if segment.in_file > segment.in_memory:
                raise self.kernel.refuse(
                    f"segment {index} has {segment.in_file:#x} bytes in the file for {segment.in_memory:#x} in memory"
                )
            data = self._bytes(segment.offset, segment.in_file, f"segment {index}")
            layout.put(segment.physical, data, segment.in_memory, f"segment {index}")
            found = True
        if not found:
            raise self.kernel.refuse("no segment of it is to be loaded")

    def segment_of(self, virtual: int) -> Segment:
        """Return the segment that is loaded and holds the virtual address ``virtual``."""
        for segment in self.segments:
            if segment.type == SegmentType.LOAD and 0 <= virtual - segment.virtual < segment.in_memory:
                return segment
        raise self.kernel.refuse(f"its entry {virtual:#x} is outside of its segments")

    def check_entry(self, physical: int) -> None:
        """Raise LoadError unless a loaded segment holds the physical address."""
        for segment in self.segments:
            if segment.type == SegmentType.LOAD and 0 <= physical - segment.physical < segment.in_memory:
                return
        raise self.kernel.refuse(f"its entry {physical:#x} is outside of its segments")

    def notes(self) -> Iterator[Note]:
        """Yield the notes of all note segments."""
        for index, segment in enumerate(self.segments):
            if segment.type != SegmentType.NOTE:
                continue
            what = f"note segment {index}"
            if segment.in_file > MAX_NOTES:
                raise self.kernel.refuse(f"{what} has {segment.in_file:#x} bytes, more than any kernel needs")
            at = segment.offset
            end = at + segment.in_file
            self._bytes(at, segment.in_file, what)
            while at + sizeof(elf.NoteHeader) <= end:
                header = self._structure(elf.NoteHeader, at, what)
                name = at + sizeof(header)
                descriptor = name + _padded(header.n_namesz)
                at = descriptor + _padded(header.n_descsz)
                if descriptor + header.n_descsz > end:
                    raise self.kernel.refuse(f"a note leaves {what}")
                yield Note(
                    bytes(self._content[name : name + header.n_namesz]),
                    header.n_type,
                    bytes(self._content[descriptor : descriptor + header.n_descsz]),
                )

    def _bytes(self, offset: int, size: int, what: str) -> memoryview:
        if offset + size > len(self._content):
            raise self.kernel.refuse(
                f"it is truncated: {what} needs bytes {offset:#x}..{offset + size - 1:#x} of {len(self._content):#x}"
            )
        return self._content[offset : offset + size]

    def _structure(self, kind: type[S], offset: int, what: str) -> S:
        return kind.from_buffer_copy(self._bytes(offset, sizeof(kind), what))


def is_elf(content: bytes) -> bool:
    return content.startswith(elf.MAGIC)


def _padded(size: int) -> int:
    return (size + 3) & ~3
