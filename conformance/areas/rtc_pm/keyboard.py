"""The 8042: the controller's commands at port 64H, its data and the keyboard's at 60H, and IRQ 1.

The status has OBF (bit 0) while a byte waits at port 60H and IBF (bit 1) never; bit 4 says that the keyboard is not
locked.  A byte that waits pulls IRQ 1 where bit 0 of the command byte allows it, until it is read.
"""

from virtproof.conformance.device_script import Handle, Interrupts, Pic
from virtproof.conformance.platform import act, family, inb, outb, resets
from virtproof.spec.cite import Cite

chip = family(
    "rtc_pm", Cite("IBM PS/2 Hardware Interface Technical Reference", "'Keyboard and Auxiliary Device Controller'")
)
keys = family(
    "rtc_pm",
    Cite(
        "IBM PS/2 Hardware Interface Technical Reference", "'Keyboards (101- and 102-Key)', 'Commands from the System'"
    ),
)

DATA, COMMAND = 0x60, 0x64
IRQ1 = 0x21
TYPE_A = act(lambda bench: bench.platform.keyboard.type_keys(b"\x1e\x9e"))

# fmt: off
CASES = (
    chip("i8042.status_idle", "The idle status: nothing waits, not locked",     inb(COMMAND, 0x10, 0xF3)),
    chip("i8042.selftest",    "Command AA answers 55",                          outb(COMMAND, 0xAA), inb(COMMAND, 0x1D), inb(DATA, 0x55), inb(COMMAND, 0x1C)),
    chip("i8042.kbdtest",     "Commands AB and A9 answer 00",                   outb(COMMAND, 0xAB), inb(COMMAND, 1, 1), inb(DATA, 0), outb(COMMAND, 0xA9), inb(COMMAND, 1, 1), inb(DATA, 0), inb(COMMAND, 0, 1)),
    chip("i8042.ctr",         "Command 60 writes the command byte, 20 reads it",
        outb(COMMAND, 0x60), outb(DATA, 0x30), inb(COMMAND, 0, 1), outb(COMMAND, 0x20), inb(DATA, 0x30),
        outb(COMMAND, 0xAE), outb(COMMAND, 0x20), inb(DATA, 0x20), outb(COMMAND, 0xAD), outb(COMMAND, 0xA8), outb(COMMAND, 0x20), inb(DATA, 0x10)),
    chip("i8042.ctr.output",      "The output port has A20, which DF and DD change",
        outb(COMMAND, 0xDD), outb(COMMAND, 0xD0), inb(DATA, 0x01), outb(COMMAND, 0xDF), outb(COMMAND, 0xD0), inb(DATA, 0x03),
        outb(COMMAND, 0xD1), outb(DATA, 0x01), outb(COMMAND, 0xD0), inb(DATA, 0x01), resets(0), priority=3),
    chip("i8042.ctr.loop",        "D2 and D3 put a byte where the keyboard's and the mouse's come", outb(COMMAND, 0xD2), outb(DATA, 0x5A), inb(COMMAND, 1, 0x21), inb(DATA, 0x5A),
        outb(COMMAND, 0xD3), outb(DATA, 0xA5), inb(COMMAND, 0x21, 0x21), inb(DATA, 0xA5), inb(COMMAND, 0, 0x21), priority=3),
    keys("i8042.kbd_reset",   "The keyboard answers FF with FA and AA",         outb(DATA, 0xFF), inb(DATA, 0xFA), inb(COMMAND, 1, 1), inb(DATA, 0xAA), inb(COMMAND, 0, 1)),
    keys("i8042.kbd_cmds",    "It answers F5, F4, and both bytes of F0 02 with FA",
        *(step for byte in (0xF5, 0xF4, 0xF0, 0x02) for step in (outb(DATA, byte), inb(COMMAND, 1, 1), inb(DATA, 0xFA), inb(COMMAND, 0, 1)))),
    keys("i8042.kbd_cmds.id",      "F2 brings its identity, an unknown byte FE",     outb(DATA, 0xF2), inb(DATA, 0xFA), inb(DATA, 0xAB), inb(DATA, 0x83), outb(DATA, 0x01), inb(DATA, 0xFE), priority=3),
    chip("i8042.irq1",        "A key raises IRQ 1 for each byte, while the command byte allows it",
        Pic(1 << 1), Handle(IRQ1, (inb(DATA),)), TYPE_A, Interrupts(IRQ1, 0), inb(COMMAND, 1, 1), inb(DATA, 0x1E), inb(DATA, 0x9E),
        outb(COMMAND, 0x60), outb(DATA, 0x01), TYPE_A, Interrupts(IRQ1, 2), inb(COMMAND, 0, 1),
        outb(COMMAND, 0xAD), TYPE_A, Interrupts(IRQ1, 2), inb(COMMAND, 0, 1), priority=2),
    chip("i8042.reset_fe",    "Command FE resets the machine, and so does a 0 in bit 0 of the output port",
        outb(COMMAND, 0xFF), resets(0), outb(COMMAND, 0xFE), resets(1), outb(COMMAND, 0xD1), outb(DATA, 0x02), resets(2)),
)
# fmt: on
