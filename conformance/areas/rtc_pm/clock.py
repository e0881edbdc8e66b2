"""The MC146818A: time of day, its formats, flags and interrupts.

Ports 70H and 71H: a byte written to the first names a cell (bit 7 masks NMI and is none of its number), the second is
the cell.  Time counts in BCD and 24 hours unless register B says otherwise; with B.SET it stands, and goes on from
what was written when SET is cleared.  Register A shows UIP in the last two milliseconds of each second.

Register C has a flag for each second (UF), for the alarm (AF) and for a period (PF): 2^(RS-1) cycles of 32768 Hz.  A
flag that B enables pulls IRQ 8 until C is read, which clears them all.  An alarm byte of C0H and more matches anything.

Time is the case's: ``elapse`` is what passes.
"""

from datetime import datetime

from virtproof.conformance.device_script import Handle, Interrupts, Out, Pic, Step
from virtproof.conformance.platform import elapse, family, inb, outb, seen
from virtproof.spec.cite import Cite
from virtproof.spec.mc146818 import DATA, INDEX

SHEET = "Motorola MC146818A data sheet"
clock = family("rtc_pm", Cite(SHEET, "'Address Map' and 'Registers'"))

MS, SECOND = 1_000_000, 1_000_000_000
IRQ8 = 0x28
A, B, C, D = range(0x0A, 0x0E)
PIE, AIE, UIE, SET, DM, H24 = 0x40, 0x20, 0x10, 0x80, 0x04, 0x02
NEAR_MIDNIGHT = {"start": datetime(2099, 12, 31, 23, 59, 58)}


def put(cell: int, value: int) -> tuple[Out, Out]:
    return outb(INDEX, cell), outb(DATA, value)


def get(cell: int, expect: int | None = None, mask: int = 0xFF) -> tuple[Step, Step]:
    return outb(INDEX, cell), inb(DATA, expect, mask)


def time(*parts: int) -> tuple[Step, ...]:
    """Century, year, month, day, hours, minutes, seconds as the registers show them."""
    cells = (0x32, 9, 8, 7, 4, 2, 0)
    return tuple(step for cell, part in zip(cells, parts, strict=True) for step in get(cell, part))


# fmt: off
CASES = (
    clock("rtc.index.mask",    "Bit 7 of the index masks NMI and names no cell",
        outb(INDEX, 0x8A), inb(DATA, 0x26, 0x7F), outb(INDEX, 0x0A), inb(DATA, 0x26, 0x7F), inb(INDEX, 0xFF)),
    clock("rtc.regA.reset",    "Register A: 1024 Hz, no update at the beginning of a second", *get(A, 0x26)),
    clock("rtc.regB.reset",    "Register B: 24 hours, BCD, no interrupts",                    *get(B, 0x02)),
    clock("rtc.regD.vrt",      "Register D says that RAM and time are valid",                 *get(D, 0x80), *put(D, 0), *get(D, 0x80)),
    clock("rtc.time.bcd",      "The time is BCD, and seconds carry up to the century",
        *time(0x20, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58), elapse(2 * SECOND), *time(0x21, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00),
        machine=NEAR_MIDNIGHT),
    clock("rtc.time.binary",   "With DM the same time is binary",
        *put(B, DM | H24), *time(20, 26, 11, 22, 16, 45, 10), *put(B, H24), *time(0x20, 0x26, 0x11, 0x22, 0x16, 0x45, 0x10), priority=2),
    clock("rtc.time.12h",      "Without 24/12 hours go from 12 to 11, bit 7 is PM",
        *put(B, 0), *get(4, 0x84), elapse(8 * 3600 * SECOND), *get(4, 0x12), elapse(3600 * SECOND), *get(4, 0x01),
        elapse(11 * 3600 * SECOND), *get(4, 0x92), *put(B, H24), *get(4, 0x12), priority=2),
    clock("rtc.time.set",      "SET stops the clock, which goes on from what was written",
        *put(B, SET | H24), elapse(3 * SECOND), *get(0, 0x10), *put(0, 0x58), *put(2, 0x59), *put(4, 0x23), *put(7, 0x28), *put(8, 0x02),
        *get(0, 0x58), elapse(3 * SECOND), *get(0, 0x58), *put(B, H24),
        elapse(2 * SECOND), *time(0x20, 0x26, 0x03, 0x01, 0x00, 0x00, 0x00), priority=2),
    clock("rtc.time.weekday",  "1 is Sunday", *get(6, 1), elapse(6 * 86400 * SECOND), *get(6, 7), elapse(86400 * SECOND), *get(6, 1), priority=3),
    clock("rtc.time.leap",     "February has a 29th day every fourth year",
        *time(0x20, 0x28, 0x02, 0x28, 0x23, 0x59, 0x59), elapse(SECOND), *time(0x20, 0x28, 0x02, 0x29, 0x00, 0x00, 0x00), priority=3,
        machine={"start": datetime(2028, 2, 28, 23, 59, 59)}),
    clock("rtc.uip.toggles",   "UIP rises before the update and falls with it",
        *get(A, 0x26), elapse(997 * MS), *get(A, 0x26), elapse(2 * MS), *get(A, 0xA6), *get(0, 0x10), elapse(MS), *get(A, 0x26), *get(0, 0x11),
        elapse(999 * MS), *get(A, 0xA6), *put(B, SET | H24), *get(A, 0x26)),
    clock("rtc.century",       "Cell 32H is the century", *get(0x32, 0x20)),
    clock("rtc.c.read_clear",  "Reading C clears its flags and lets IRQ 8 go",
        Pic(1 << 8 | 1 << 2), Handle(IRQ8), *put(B, PIE | H24), elapse(MS), Interrupts(IRQ8, 1), elapse(5 * MS), Interrupts(IRQ8, 1),
        *get(C, 0xC0), *get(C, 0x00), elapse(MS), Interrupts(IRQ8, 2), *get(C, 0xC0), *put(B, H24), elapse(MS), *get(C, 0x40), *get(C, 0x00), refs=("irq.rtc.irq8",)),
    clock("rtc.c.flags",       "Without their enables flags rise all the same, IRQF does not", elapse(SECOND), *get(C, 0x50), *get(C, 0x00), priority=3),
    clock("rtc.pie.rate",      "RS = 6 is a period of 1/1024 s",
        *get(C), elapse(976_000), *get(C, 0x00), elapse(1_000), *get(C, 0x40), elapse(SECOND * 9 // 10240), *get(C, 0x00),
        *put(A, 0x2F), elapse(499 * MS), *get(C), elapse(400 * MS), *get(C, 0x00, 0x40), *put(A, 0x20), elapse(SECOND), *get(C, 0x00, 0x40), priority=2),
    clock("rtc.pie.rate_low",  "RS = 1 and 2 are periods of 1/256 and 1/128 s", *put(A, 0x21), *get(C), elapse(3_906_000), *get(C, 0x00), elapse(1_000), *get(C, 0x40),
        *put(A, 0x22), elapse(3_905_000), *get(C, 0x00), elapse(1_000), *get(C, 0x40), priority=3),
    clock("rtc.regA.divider",  "The first update comes half a second after the divider is released", *put(A, 0x66), elapse(3 * SECOND), *put(A, 0x26), *get(0, 0x10),
        elapse(499 * MS), *get(0, 0x10), elapse(2 * MS), *get(0, 0x11), elapse(998 * MS), *get(0, 0x11), elapse(2 * MS), *get(0, 0x12), priority=3),
    clock("rtc.time.12h_set",  "An hour that is set in 12-hour mode keeps its half of the day, a year its number",
        *put(B, SET), *put(4, 0x91), *put(9, 0x31), *put(B, 0), *get(4, 0x91), *get(9, 0x31), *put(B, H24), *get(4, 0x23), priority=3),
    clock("rtc.pie.irqs",      "Each period that is acknowledged interrupts",
        Pic(1 << 8 | 1 << 2), Handle(IRQ8, (*get(C),)), *put(B, PIE | H24), *(step for n in range(8) for step in (elapse(1_000_000), Interrupts(IRQ8, n + 1))), priority=3),
    clock("rtc.uie",           "UIE interrupts once a second",
        Pic(1 << 8 | 1 << 2), Handle(IRQ8, (*get(C),)), *put(B, UIE | H24), elapse(999 * MS), Interrupts(IRQ8, 0), elapse(MS), Interrupts(IRQ8, 1),
        elapse(SECOND), Interrupts(IRQ8, 2), elapse(999 * MS), Interrupts(IRQ8, 2), priority=2),
    clock("rtc.regB.set_clears_uie", "SET clears UIE, and keeps PIE and AIE", *put(B, SET | PIE | AIE | UIE | H24), *get(B, SET | PIE | AIE | H24),
        *put(B, UIE | H24), *get(B, UIE | H24), *put(B, SET | UIE | H24), *put(B, H24), *get(B, H24), priority=3),
    clock("rtc.alarm",         "The alarm rings at its time; bytes of C0H and more match any",
        Pic(1 << 8 | 1 << 2), Handle(IRQ8, (*get(C),)), *put(1, 0x12), *put(3, 0xC0), *put(5, 0xFF), *put(B, AIE | H24),
        elapse(1999 * MS), Interrupts(IRQ8, 0), elapse(MS), Interrupts(IRQ8, 1), elapse(59_999 * MS), Interrupts(IRQ8, 1), elapse(MS), Interrupts(IRQ8, 2),
        *put(3, 0x45), *put(5, 0x16), elapse(86_400 * SECOND - 61 * SECOND), Interrupts(IRQ8, 2), elapse(SECOND), Interrupts(IRQ8, 3), priority=2),
    clock("rtc.smp_5f",        "Cell 5FH is the processors but the first", *get(0x5F, 1), vcpus=2, irqchip=True),
    clock("rtc.mem.ext_3031",  "Cells 30H and 31H are the KiB above 1 MiB", *get(0x30, 0x00), *get(0x31, 0xFC), *get(0x17, 0x00), *get(0x18, 0xFC)),
    clock("rtc.mem.ext_capped", "... but not more than FFFFH", *get(0x30, 0xFF), *get(0x31, 0xFF), machine={"ram": 1 << 30}, priority=3),
    clock("rtc.mem.ext_3435",  "Cells 34H and 35H are units of 64 KiB above 16 MiB", *get(0x34, 0x00), *get(0x35, 0x03)),
    clock("rtc.mem.high_5b5d", "Cells 5BH to 5DH are units of 64 KiB above 4 GiB", *get(0x5B, 0x00), *get(0x5C, 0x40), *get(0x5D, 0x00),
        *get(0x34, 0x00), *get(0x35, 0xBF), machine={"ram": 4 << 30}),
    clock("rtc.mem.ram",           "The cells behind the registers are RAM", *put(0x7F, 0x5A), *put(0x40, 0xA5), *get(0x7F, 0x5A), *get(0x40, 0xA5), *get(0x0F, 0x00),
        seen("cells", lambda bench: bench.platform.rtc.state()["cells"][0xFE:], "5a"), priority=3, refs=("fw.seabios.resume_code",)),
)
# fmt: on
