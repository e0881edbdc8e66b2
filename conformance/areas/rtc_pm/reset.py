"""Ports 92H and CF9H, and the ports of debuggers.

Port 92H: bit 1 is A20, a write with bit 0 resets.  Port CF9H: a rise of bit 2 resets, bit 1 alone does not; the port is
one byte wide, and the double word at CF8H is another register.

Port 402H, and E9H since Bochs, are logs: reading one brings E9H.  A value v written to port F4H ends the guest with
the exit status 2v + 1.
"""

from virtproof.conformance.platform import family, inb, inl, outb, outl, outw, resets, seen
from virtproof.spec.cite import Cite

PIIX4 = "Intel 82371AB (PIIX4) data sheet"
port92 = family("rtc_pm", Cite(PIIX4, "'Port 92 (PORT92)'"))
cf9 = family("rtc_pm", Cite(PIIX4, "'Reset Control Register (RC)'"))
seabios = family("rtc_pm", Cite("SeaBIOS 1.16.2", "src/fw/paravirt.c, qemu_debug_preinit and qemu_debug_putc"))
bochs = family("rtc_pm", Cite("Bochs user manual", "'port_e9_hack'"))
qemu = family("rtc_pm", Cite("QEMU", "hw/misc/debugexit.c"))

# fmt: off
CASES = (
    port92("port92.a20_rw",     "Bit 1 reads as it was written",                outb(0x92, 0x02), inb(0x92, 0x02), outb(0x92, 0x00), inb(0x92, 0x00), resets(0)),
    port92("port92.fast_reset", "Bit 0 resets the machine",                     outb(0x92, 0x02), resets(0), outb(0x92, 0x03), resets(1), inb(0x92, 0x02), priority=2),
    cf9("cf9.hard_reset",       "02, then 06 resets the machine, once",         outb(0xCF9, 0x02), outb(0xCF9, 0x06), resets(1), outb(0xCF9, 0x06), resets(1)),
    cf9("cf9.no_edge",          "02 alone does not, and reads back",            outb(0xCF9, 0x02), inb(0xCF9, 0x02), resets(0), outb(0xCF9, 0xF0), inb(0xCF9, 0x00), resets(0), priority=2),
    cf9("cf9.vs_cf8",           "A double word at CF8 with 06 in its second byte is the configuration address",
        outb(0xCF9, 0x02), outl(0xCF8, 0x8000_0600), inl(0xCF8, 0x8000_0600), inb(0xCF9, 0x02), outw(0xCF8, 0x0600), resets(0), inl(0xCF8, 0x8000_0600)),
    seabios("debug.402_read",   "Port 402 reads E9",                            inb(0x402, 0xE9)),
    seabios("debug.402_write",  "Bytes written to it are kept in their order",  *(outb(0x402, byte) for byte in b"ok\n"), seen("log", lambda bench: bench.platform.firmware_log.text, "ok\n")),
    bochs("debug.e9",           "Port E9 reads E9 and keeps a log of its own",  inb(0xE9, 0xE9), outb(0xE9, 0x41), seen("log", lambda bench: bench.platform.bochs_log.text, "A"),
        seen("firmware's log", lambda bench: bench.platform.firmware_log.text, ""), priority=2),
    qemu("debug.exit_f4",       "A value v at port F4 is the exit status 2v + 1", outb(0xF4, 0x10), outl(0xF4, 0x0), outw(0xF4, 0xFF), seen("exit statuses", lambda bench: bench.exits, [33, 1, 255])),
)
# fmt: on
