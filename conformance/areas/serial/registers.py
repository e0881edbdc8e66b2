"""The register file of the 16550A: reset values, what can be read back, and the two latches behind DLAB.

After reset IER, LCR and MCR are 0, IIR says that nothing is pending (01), and LSR shows an empty transmitter (60).
IER keeps its low four bits, SCR and LCR all eight.  While LCR.DLAB is set, the first two ports are the divisor's two
bytes; data and IER behind them are neither read nor written.

Where a PC has no second, third or fourth port, nobody drives the bus and it reads FF.
"""

from virtproof.conformance.com1 import DLL, DLM, IER, IIR, LCR, LSR, MCR, MSR, RBR, SCR, THR, data_sheet, uart_family
from virtproof.conformance.steps import inb, outb

row = uart_family(
    data_sheet("'Registers', 'UART Reset Configuration'"),
    data_sheet("'Registers', 'Summary of Registers'"),
)

COM2, COM3, COM4 = 0x2F8, 0x3E8, 0x2E8

# fmt: off
CASES = (
    row("serial.reset.values",       "Registers have their values of reset",     inb(IER, 0x00), inb(IIR, 0x01), inb(LCR, 0x00), inb(MCR, 0x00), inb(LSR, 0x60)),
    row("serial.scr.rw",             "The scratch register keeps what it is given", outb(SCR, 0xA5), inb(SCR, 0xA5), outb(SCR, 0x5A), inb(SCR, 0x5A)),
    row("serial.ier.mask",           "IER keeps its low four bits",              outb(IER, 0xFF), inb(IER, 0x0F), outb(IER, 0xF0), inb(IER, 0x00)),
    row("serial.lcr.readback",       "LCR keeps all eight bits",                 outb(LCR, 0xFB), inb(LCR, 0xFB), outb(LCR, 0x04), inb(LCR, 0x04), priority=2),
    row("serial.dlab.divisor",       "LCR.DLAB turns data and IER into the divisor and back",
        outb(IER, 0x05),
        outb(LCR, 0x83), outb(DLL, 0xB4), outb(DLM, 0x92), inb(DLL, 0xB4), inb(DLM, 0x92),
        outb(LCR, 0x03), inb(IER, 0x05), outb(THR, 0x41),
        outb(LCR, 0x83), inb(DLL, 0xB4), inb(DLM, 0x92), sends=b"A"),
    row("serial.ier.seabios_probe",  "A BIOS finds the port by IER and IIR",     outb(IER, 0x02), inb(IER, 0x02), inb(IIR, 0x02), outb(IER, 0x00), inb(IER, 0x00)),
    row("serial.lsr.thre_temt",      "An idle transmitter is empty",             inb(LSR, 0x60)),
    row("serial.thr.output",         "Bytes written to THR leave in order",      outb(THR, 0x41), outb(THR, 0x00), outb(THR, 0xFF), sends=b"A\x00\xff"),
    row("serial.rbr.empty_read",     "Reading RBR while it is empty changes nothing", inb(RBR), inb(LSR, 0x60), inb(IIR, 0x01), priority=2),
    row("serial.lsr.write_ignored",  "LSR and MSR cannot be written",            outb(LSR, 0xFF), inb(LSR, 0x60), outb(MSR, 0x00), inb(MSR, 0xB0), priority=3),
    row("serial.com2.present_optional", "Ports without a UART read FF",          inb(COM2 + 1, 0xFF), inb(COM3 + 1, 0xFF), inb(COM4 + 1, 0xFF), priority=2),
)
# fmt: on
