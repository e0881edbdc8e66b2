"""The 8254: channel 0 interrupts at line 0, channel 2 counts while bit 0 of port 61H opens its gate.

Mode 2 goes round and interrupts each time.  A latched count stays until it is read while the counter goes on.  In mode 0
OUT is low until the count is over; channel 2's is bit 5 of port 61H.

The numbers are what the test of that name in guest_payloads/pit.c observes.
"""

from virtproof.conformance.case import Case, Insn, completes, family, mmio_read, pio_in, pio_out, programs_of
from virtproof.conformance.window import WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import Cite, linux

CITE = (Cite("Intel 8254 data sheet", "'Mode Definitions' and 'Counter Latch Command'"), linux("virt/kvm/api.rst", "KVM_CREATE_PIT2"))  # fmt: skip
pit = programs_of("timers", "pit", *CITE, pit=True)
row = family("timers", *CITE)
HPET = 0xFED0_0000

# fmt: off
CASES: tuple[Case, ...] = (
    pit("time.pit.mode2", "Mode 2 interrupts again and again",           "pit_periodic", (1,), 2),
    pit("time.pit.latch", "A latched count stays, the counter does not", "pit_latch",    (1,)),
    pit("time.pit.gate2", "Channel 2 counts with its gate open only",    "pit_gate",     (0, 1), refs=("irq.pit.ch2_gate",)),
    pit("time.pit.out2",  "OUT of mode 0 rises when the count is over",  "pit_out",      (0, 1)),
    pit("time.pit.mode0", "Mode 0 interrupts once",                          "pit_once",     (1,),   priority=2),
    pit("time.pit.mode3", "Mode 3 interrupts as often as mode 2",            "pit_square",   (1,),   priority=2),
    pit("time.pit.readback", "Read-back: access, mode and OUT",              "pit_status",   (0x36, 0x30, 0xB0), priority=2, refs=("irq.pit.readback",)),
    pit("time.pit.count0", "A count of 0 is the largest, and interrupts",    "pit_full",     (1, 1), priority=2, refs=("irq.pit.irq0",)),
    pit("time.pit.spkr_bit4", "Bit 4 of port 61H toggles",                   "pit_refresh",  (10,),  priority=2),
    row("time.pit.none",  "Without a PIT in the kernel its ports come out", Mode.LONG64, Insn("e4 40", "in al, 0x40"),
        completes(regs={"rax": 0x0101_0101_0101_01FF}, accesses=(pio_in(0x40, 1, 0xFF),)), irqchip=True),
    row("time.none.rtc_absent", "KVM has no real-time clock: its ports come out", Mode.LONG64, (Insn("e6 70", "out 0x70, al"), Insn("e4 71", "in al, 0x71")),
        completes(regs={"rax": 0xFF}, accesses=(pio_out(0x70, 1, 0x0A), pio_in(0x71, 1, 0xFF))), regs={"rax": 0x0A}, irqchip=True, priority=2),
    row("time.none.hpet_absent", "KVM has no HPET: its page comes out", Mode.LONG64, Insn("8b 03", "mov eax, dword ptr [rbx]"),
        completes(regs={"rax": 0xFFFF_FFFF}, accesses=(mmio_read(HPET, 4, 0xFFFF_FFFF),)), regs={"rbx": WINDOW}, sets=(maps(page(HPET)),), irqchip=True),
)
# fmt: on
