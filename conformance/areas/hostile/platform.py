"""Guests that misuse the clock, the keyboard, reset, power management, logs, the serial port and fw_cfg; wrong files.

The monitor goes on: queues, logs and timers are bounded, a date that does not exist is some date, ports that power
management is put upon stay what they were, and no transfer reaches what is not RAM.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from ctypes import sizeof
from functools import partial

from virtproof.conformance.areas.firmware.entry import RAM, TEXT
from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Fill, InString, Load, Out, OutString, Put, Step
from virtproof.conformance.platform import Bench, act, elapse, family, inb, inl, inw, outb, outl, outw, resets, seen
from virtproof.guest_payloads.accesses import FREE, MEMORY
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec import bzimage, elf
from virtproof.spec.cite import Cite
from virtproof.vmm.devices.debug_console import LIMIT
from virtproof.vmm.devices.i8042 import QUEUE
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.engine import Engine
from virtproof.vmm.events import EventLoop, ManualClock
from virtproof.vmm.loaders import detect
from virtproof.vmm.loaders.image import Kernel, LoadError

row = family("hostile", Cite("Motorola MC146818A data sheet", "'Time, Calendar, and Alarm Locations'"))
ports = family("hostile", Cite("Intel 82371AB (PIIX4) data sheet", "'Power Management Register Descriptions'"))
keys = family(
    "hostile", Cite("IBM PS/2 Hardware Interface Technical Reference", "'Keyboard and Auxiliary Device Controller'")
)
fw = family(
    "hostile",
    Cite("QEMU docs/specs/fw_cfg.rst", "'Guest-side DMA Interface'"),
    machine={"files": {"opt/a": bytes(range(16))}},
)
UART = Cite("National Semiconductor PC16550D data sheet", "'FIFO Interrupt Mode Operation'")
BOOT = Cite("Linux Documentation/arch/x86/boot.rst", "'The Real-Mode Kernel Header'")

SECOND, ONES = 1_000_000_000, (1 << 64) - 1
PM = 0x0B
ACCESS, BUFFER = FREE, FREE + 0x1000
READ, SKIP, SELECT = 2, 4, 8
FILE = 0x20 << 16 | SELECT


def cell(index: int, value: int) -> tuple[Step, Step]:
    return outb(0x70, index), outb(0x71, value)


def date(*parts: int) -> tuple[Step, ...]:
    """Seconds, minutes, hours, day, month, year, century, written while the clock stands."""
    cells = zip((0, 2, 4, 7, 8, 9, 0x32), parts, strict=True)
    return *cell(0x0B, 0x82), *(step for index, value in cells for step in cell(index, value)), *cell(0x0B, 0x02)


def shown(*parts: int) -> tuple[Step, ...]:
    cells = zip((0, 2, 4, 7, 8, 9, 0x32), parts, strict=True)
    return tuple(step for index, value in cells for step in (outb(0x70, index), inb(0x71, value)))


def access(control: int, length: int, address: int = BUFFER, *, at: int = ACCESS) -> tuple[Step, ...]:
    """Lay a structure down and have it carried out."""
    return Put(at, struct.pack(">IIQ", control, length, address)), begin(at)


def begin(at: int) -> Out:
    return outl(0x518, int.from_bytes(at.to_bytes(4), "little"))


def control(value: int, at: int = ACCESS) -> Load:
    return Load(at, 4, int.from_bytes(value.to_bytes(4), "little"))


def valid_bcd(bench: Bench) -> bool:
    state = bench.platform.rtc
    state.write(0, 1, 0)
    read = []
    for index in (0, 2, 4, 7, 8, 9, 0x32):
        state.write(0, 1, index)
        read.append(state.read(1, 1))
    return all(value & 0xF < 10 and value >> 4 < 10 for value in read)


def every_cell(value: int) -> tuple[Step, ...]:
    return tuple(step for index in range(0x80) for step in cell(index, value))


def flooded(engine: Engine) -> Iterable[Check]:
    """The other end sends 64 KiB that nobody reads; and the guest sends more than anybody takes."""
    loop, sent = EventLoop(ManualClock()), [0]

    def count(byte: int) -> None:
        sent[0] += 1

    serial = Serial(count, lambda level: None, loop.after)
    serial.write(2, 1, 1)
    serial.receive(bytes(1 << 16))
    kept = len(serial.state()["received"])
    yield Check("bytes that wait", "16", str(kept), kept == 16)
    yield Check("room for more", "0", str(serial.room), serial.room == 0)
    for _ in range(1 << 12):
        serial.write(0, 1, 0x41)
    yield Check("bytes sent at once", str(1 << 12), str(sent[0]), sent[0] == 1 << 12)


def refused(engine: Engine, files: Callable[[], Iterable[tuple[str, bytes]]]) -> Iterator[Check]:
    """Each file is refused with a reason, or laid out inside of RAM."""
    for what, content in files():
        try:
            image = detect.load(Kernel("kernel", content), RAM)
            ended = all(piece.end <= RAM for piece in image.pieces)
            yield Check(what, "refused", "laid out in RAM" if ended else "laid out beyond RAM", False)
        except LoadError as fault:
            yield Check(what, "refused", f"refused: {fault.saw}", True)


def elf_files() -> Iterator[tuple[str, bytes]]:
    def made(**segment: int) -> bytes:
        data = sizeof(elf.Header64) + sizeof(elf.ProgramHeader64)
        header = elf.Header64(
            e_type=elf.EXECUTABLE, e_machine=elf.EM_X86_64, e_entry=TEXT, e_phoff=sizeof(elf.Header64),
            e_phentsize=sizeof(elf.ProgramHeader64), e_phnum=1,
        )  # fmt: skip
        header.e_ident[:] = [*elf.MAGIC, elf.CLASS64, elf.LITTLE_ENDIAN, 1, *bytes(9)]
        said = {"p_offset": data, "p_vaddr": TEXT, "p_paddr": TEXT, "p_filesz": 16, "p_memsz": 16} | segment
        return bytes(header) + bytes(elf.ProgramHeader64(p_type=elf.SegmentType.LOAD, **said)) + b"\xf4" * 16

    top = (1 << 64) - 4096
    yield "a segment outside of RAM", made(p_paddr=RAM, p_vaddr=RAM)
    yield "one that wraps round", made(p_paddr=top, p_vaddr=top, p_memsz=8192)
    yield "one that is larger than RAM", made(p_memsz=1 << 40)
    yield "more bytes than the file has", made(p_filesz=1 << 20, p_memsz=1 << 20)
    yield "fewer bytes in memory than in the file", made(p_memsz=8)
    yield "program headers behind the end", made()[:70]


def bz_files() -> Iterator[tuple[str, bytes]]:
    whole = bytearray(6 * bzimage.SECTOR)
    whole[bzimage.JUMP : bzimage.MAGIC_AT + 4] = b"\xeb\x66" + bzimage.MAGIC
    for offset, size, value in (
        (bzimage.SETUP_SECTS, 1, 4), (bzimage.BOOT_FLAG, 2, bzimage.BOOT_FLAG_VALUE), (bzimage.VERSION, 2, 0x20F),
        (bzimage.LOADFLAGS, 1, 1), (bzimage.PREF_ADDRESS, 8, TEXT), (bzimage.RELOCATABLE, 1, 1),
    ):  # fmt: skip
        whole[offset : offset + size] = value.to_bytes(size, "little")

    def but(offset: int, size: int, value: int) -> bytes:
        return bytes(whole[:offset]) + value.to_bytes(size, "little") + bytes(whole[offset + size :])

    yield "255 sectors of set-up code", but(bzimage.SETUP_SECTS, 1, 0xFF)
    yield "a file that ends in its header", bytes(whole[: bzimage.VERSION])
    yield "a size that no RAM has", but(bzimage.INIT_SIZE, 4, 0xFFFF_FFFF)
    yield "an address that is none", but(bzimage.PREF_ADDRESS, 8, (1 << 64) - 1)
    yield "a header that ends behind its sectors", but(bzimage.SETUP_SECTS, 1, 1)[: 2 * bzimage.SECTOR]


def host(id_: str, title: str, cite: Cite, script: Callable[[Engine], Iterable[Check]], **more: int) -> HostScript:
    return HostScript(id=id_, title=title, area="hostile", mode=Mode.LONG64, cite=(cite,), script=script, **more)  # type: ignore[arg-type]


# fmt: off
CASES: tuple[Case, ...] = (
    row("hostile.rtc.bad_date",    "Dates that do not exist are some dates, and time goes on",
        *date(0x58, 0x59, 0x23, 0x31, 0x02, 0x26, 0x20), elapse(2 * SECOND), *shown(0, 0, 0, 0x04, 0x03, 0x26, 0x20),
        *date(0x10, 0, 0, 0x01, 0x00, 0x26, 0x20), elapse(SECOND), *shown(0x11, 0, 0, 0x01, 0x01, 0x26, 0x20),
        *date(0, 0, 0, 0x01, 0x01, 0x99, 0xFF), elapse(2 * SECOND), inb(0x71), seen("the time is decimal", valid_bcd, True)),
    row("hostile.rtc.fuzz",        "Every cell with every bit: the time stays a time",
        *every_cell(0xFF), elapse(3 * SECOND), *cell(0x0A, 0x26), *cell(0x0B, 0x02), elapse(3 * SECOND), seen("the time is decimal", valid_bcd, True),
        *every_cell(0x5A), *cell(0x0A, 0x26), *cell(0x0B, 0x02), elapse(3 * SECOND), seen("the time is decimal", valid_bcd, True)),
    row("hostile.rtc.rate_max",    "Interrupts at the highest rate that nobody takes need no timer",
        *cell(0x0A, 0x23), *cell(0x0B, 0x72), seen("timers", lambda bench: bench.timers, 1), elapse(SECOND), seen("timers", lambda bench: bench.timers, 0),
        *(step for rate in (1, 2, 3) for step in (*cell(0x0A, 0x20 | rate), outb(0x70, 0x0C), inb(0x71), elapse(10_000_000))), seen("timers", lambda bench: bench.timers, 0), priority=2),
    keys("hostile.i8042.fuzz",     "Every command and every byte: the queue is bounded, and only what resets does",
        *(outb(0x64, command) for command in range(0xF0)), *(outb(0x60, byte) for byte in range(0x100)), act(lambda bench: bench.platform.keyboard.type_keys(bytes(200))),
        seen("bytes that wait", lambda bench: len(bench.platform.keyboard.state()["queue"]) <= QUEUE, True), resets(0),
        outb(0x64, 0xFE), resets(1), *(outb(0x64, command) for command in (0xF1, 0xF3, 0xFF)), resets(1), priority=2),
    ports("hostile.cf9.fuzz",      "Nothing but a rise of bit 2 in port CF9 resets",
        *(outl(0xCF8, value) for value in (0x0600, 0x8000_0600, 0xFFFF_FFFF, 0)), *(outw(0xCF8, value) for value in (0x0200, 0x0600, 0xFFFF)), *(outw(0xCFA, 0x0606),) * 2,
        *(outb(port, 0x06) for port in (0xCF8, 0xCFA, 0xCFB)), resets(0), outb(0xCF9, 0x02), outb(0xCF9, 0xFB), resets(0), outb(0xCF9, 0x04), resets(1), outb(0xCF9, 0x06), resets(1), outb(0xCF9, 0), outb(0xCF9, 0xFF), resets(2)),
    ports("hostile.pm.fuzz",       "Ports that power management is put upon stay what they were",
        ConfigWrite(PM, 0x80, 1, 1), *(step for base in (0, 0xCC1, 0x41, 0xFFFF_FFFF, 0x501) for step in (ConfigWrite(PM, 0x40, 4, base), outw(0xCE4, 0), outb(0x70, 0x0D), inb(0x71, 0x80))),
        ConfigWrite(PM, 0x40, 4, 0xCC1), outl(0xCF8, 0x8000_0000), inl(0xCF8, 0x8000_0000), ConfigRead(0x08, 0, 4, 0x7000_8086),
        ConfigWrite(PM, 0x40, 4, 0x501), outw(0x510, 0), inb(0x511, ord("Q")), inw(0x502, 0),
        ConfigWrite(PM, 0x40, 4, 0xFFC1), inl(0xFFC8, 0, 0xFF00_0000), inl(0xFFFC, 0), ConfigWrite(PM, 0x40, 4, 0x601), inl(0x608, 0, 0xFF00_0000)),
    ports("hostile.pm.sleep_types", "Of all kinds of sleep the monitor is told, and only type 0 is off",
        ConfigWrite(PM, 0x40, 4, 0x601), ConfigWrite(PM, 0x80, 1, 1), *(outw(0x604, 0x2000 | kind << 10) for kind in range(8)), inw(0x604, 0x1C00),
        seen("SLP_TYP", lambda bench: bench.slept, list(range(8))), priority=2),
    ports("hostile.debug.flood",   "A log is bounded",
        Fill(BUFFER, 0x21000, 0x4141_4141_4141_4141), OutString(0x402, 1, BUFFER, 0x21000), seen("the log is bounded", lambda bench: LIMIT <= len(bench.platform.firmware_log.text) <= 2 * LIMIT, True), seconds=30.0, priority=2),
    fw("hostile.fwcfg.dma_oob",    "A structure where there is no RAM is ignored",
        begin(0xFFFF_F000), begin(MEMORY), outl(0x514, 0xFFFF_FFFF), begin(0xFFFF_F000), outl(0x514, 0xFFFF_FFFF), outl(0x518, 0xFFFF_FFFF), outw(0x510, 0), inb(0x511, ord("Q"))),
    fw("hostile.fwcfg.dma_struct_edge", "So is one that reaches over the end of RAM", Put(MEMORY - 8, struct.pack(">II", FILE | READ, 4)), begin(MEMORY - 8), Load(MEMORY - 8, 8, int.from_bytes(struct.pack(">II", FILE | READ, 4), "little"))),
    fw("hostile.fwcfg.dma_len_max", "A length of 4 GiB fails", *access(FILE | READ, 0xFFFF_FFFF), control(1), Load(BUFFER, 8, 0), Load(MEMORY - 8, 8, 0)),
    fw("hostile.fwcfg.dma_len_max.end", "A length beyond the end of RAM fails", *access(FILE | READ, 0x100, MEMORY - 0x10), control(1), priority=3),
    fw("hostile.fwcfg.dma_to_mmio", "Data do not go to devices: not to the APICs, and to no address that wraps",
        *access(FILE | READ, 16, 0xFEC0_0000), control(1), *access(FILE | READ, 16, (1 << 64) - 8, at=ACCESS + 0x40), control(1, ACCESS + 0x40)),
    fw("hostile.fwcfg.dma_self",   "Data that overwrite their own structure move once", *access(FILE | READ, 16, ACCESS), control(0), Load(ACCESS + 8, 8, 0x0F0E_0D0C_0B0A_0908), priority=2),
    fw("hostile.fwcfg.control_bits", "Only the bits that are defined do something",
        *(step for number in range(32) for step in access(number & ~0x12, 4, at=ACCESS + 0x40 * number)), *(control(0, ACCESS + 0x40 * number) for number in range(32)),
        *access(0xFFE0, 4, at=ACCESS + 0x900), control(0, ACCESS + 0x900), Load(BUFFER, 8, 0), priority=2),
    fw("hostile.fwcfg.skip_wrap",  "Skipping does not wrap round", *access(FILE | SKIP, 0xFFFF_FFFF), control(0), Put(ACCESS + 0x40, struct.pack(">IIQ", SKIP, 0xFFFF_FFFF, 0)), begin(ACCESS + 0x40), control(0, ACCESS + 0x40),
        inb(0x511, 0), Put(ACCESS + 0x80, struct.pack(">IIQ", READ, 4, BUFFER)), Put(BUFFER, b"\xFF" * 8), begin(ACCESS + 0x80), Load(BUFFER, 8, 0xFFFF_FFFF_0000_0000)),
    fw("hostile.fwcfg.data_flood", "Reads behind the end bring zeros for ever", outw(0x510, 0x20), *(inb(0x511, value) for value in range(16)), Fill(BUFFER, 0x20000, ONES), InString(0x511, 1, BUFFER, 0x1FFF8), Load(BUFFER, 8, 0), Load(BUFFER + 0x1FFF0, 8, 0), Load(BUFFER + 0x1FFF8, 8, ONES), inb(0x511, 0), priority=2),
    host("hostile.serial.host_flood",   "What arrives and is not read is bounded", UART, flooded, ),
    host("hostile.boot.elf_bad_phdr",   "ELF files whose segments cannot be are refused", BOOT, partial(refused, files=elf_files)),
    host("hostile.boot.bz_bad_header",  "bzImages whose headers cannot be are refused",   BOOT, partial(refused, files=bz_files)),
)
# fmt: on
