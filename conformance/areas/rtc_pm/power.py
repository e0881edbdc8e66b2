"""Power management of the PIIX4: where its ports are, the timer, events and sleep; and the ports of SMM.

The 64 ports answer at PMBASE (configuration 40H, bit 0 reads 1) while bit 0 of PMREGMISC (80H) is set.  PM_TMR counts
3579545 times a second in 24 bits.  PM1_STS has events, cleared by writing ones; those that PM1_EN enables raise SCI, a
level on line 9.  SLP_EN in PM1_CNT sends the machine to the state that SLP_TYP names: 0 is off.

ACPI_ENABLE (F1H) written to port B2H sets SCI_EN, ACPI_DISABLE (F0H) clears it.
"""

from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Handle, Interrupts, Pic, Step
from virtproof.conformance.guest import GuestStopped
from virtproof.conformance.platform import Bench, act, elapse, family, inb, inl, inw, outb, outl, outw, seen
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite
from virtproof.spec.piix4 import TIMER_HZ
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Halt
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

ACPI = "ACPI Specification 6.5"
chip = family("rtc_pm", Cite("Intel 82371AB (PIIX4) data sheet", "'Power Management Register Descriptions'"))
acpi = family("rtc_pm", Cite(ACPI, "'Fixed Hardware'"))

MS, SECOND = 1_000_000, 1_000_000_000
PM, BASE = 0x0B, 0x600  # 00:01.3
STS, EN, CNT, TMR = (BASE + at for at in (0, 2, 4, 8))
ON: tuple[Step, ...] = (ConfigWrite(PM, 0x40, 4, BASE | 1), ConfigWrite(PM, 0x80, 1, 1))
SCI, WATCH_SCI = 0x29, (Pic(1 << 9 | 1 << 2, level=1 << 9),)
PRESS = act(lambda bench: bench.platform.pm.press_power_button())
PWRBTN = 0x0100


def slept(*kinds: int) -> Step:
    return seen("SLP_TYP", lambda bench: bench.slept, list(kinds))


def clocks(ns: int) -> int:
    return ns * TIMER_HZ // SECOND


def halted(engine: Engine) -> Iterable[Check]:
    """A guest reads the timer, halts, and reads it again."""
    code = bytes.fromhex("ba 08 06  66 ed  66 a3 00 20  f4  66 ed  66 a3 04 20  f4")  # in eax, dx; mov [..], eax; hlt
    with Machine(engine, ram=64 << 10) as machine:
        bench = Bench(machine)
        bench.platform.pm.function.write_config(0x40, 4, BASE)
        bench.platform.pm.function.write_config(0x80, 1, 1)
        machine.memory.load(0x1000, code)
        machine.vcpu.set_special_registers(modes.real16(machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=0x1000))
        for ns in (0, 100 * MS):
            bench.elapse(ns)
            stopped = machine.run(seconds=5)
            if not isinstance(stopped, Halt):
                raise GuestStopped(str(stopped))
        before, after = (int.from_bytes(machine.memory.read(at, 4), "little") for at in (0x2000, 0x2004))
    yield Check(
        "clocks in 100 ms of HLT", str(clocks(100 * MS)), str(after - before), after - before == clocks(100 * MS)
    )


# fmt: off
CASES: tuple[Case, ...] = (
    chip("pm.base.identity",      "Function 3 of device 1 is the PIIX4's power management", ConfigRead(PM, 0, 4, 0x7113_8086), ConfigRead(PM, 8, 4, 0x0680_0003), priority=3),
    chip("pm.base.move",     "The ports are where PMBASE says, once PMREGMISC lets them answer",
        inl(TMR, 0xFFFF_FFFF), ConfigWrite(PM, 0x40, 4, BASE | 1), inl(TMR, 0xFFFF_FFFF), ConfigWrite(PM, 0x80, 1, 1), inl(TMR, 0, 0xFF00_0000),
        ConfigWrite(PM, 0x40, 4, 0xB001), inl(TMR, 0xFFFF_FFFF), inl(0xB008, 0, 0xFF00_0000), ConfigWrite(PM, 0x80, 1, 0), inl(0xB008, 0xFFFF_FFFF)),
    chip("pm.base.bit0",     "Bit 0 of PMBASE reads 1, and so many bits can be written",
        ConfigWrite(PM, 0x40, 4, BASE), ConfigRead(PM, 0x40, 4, 0x601), ConfigWrite(PM, 0x40, 4, 0xFFFF_FFFF), ConfigRead(PM, 0x40, 4, 0xFFC1)),
    acpi("pm.tmr.rate",      "The timer counts 3579545 times a second, in 24 bits",
        *ON, inl(TMR, 0), elapse(SECOND), inl(TMR, clocks(SECOND)), inw(TMR + 2, clocks(SECOND) >> 16), elapse(4 * SECOND), inl(TMR, clocks(5 * SECOND) % (1 << 24)),
        outl(TMR, 0), inl(TMR, clocks(5 * SECOND) % (1 << 24))),
    HostScript(id="pm.tmr.halt", title="The timer goes on while the processor halts", area="rtc_pm", mode=Mode.REAL16,
        cite=(Cite(ACPI, "'Power Management Timer'"),), script=halted),
    acpi("pm.tmr.event",     "A change of its highest bit sets TMR_STS and raises SCI where that is enabled",
        *WATCH_SCI, Handle(SCI, (outw(STS, 1),)), *ON, inw(STS, 0), elapse(2343 * MS), inw(STS, 0), elapse(MS), inw(STS, 1), outw(STS, 1), inw(STS, 0),
        outw(EN, 1), elapse(2342 * MS), Interrupts(SCI, 0), elapse(MS), Interrupts(SCI, 1), inw(STS, 0), priority=3),
    acpi("pm.sts.w1c",       "PM1_STS: a one clears its bit, a zero none",
        *ON, inw(STS, 0), PRESS, inw(STS, PWRBTN), outw(STS, 0), outw(STS, 0xFEFF), inw(STS, PWRBTN), outb(STS + 1, 1), inw(STS, 0)),
    acpi("pm.en.sci",        "The power button raises SCI, a level, while PM1_EN has it",
        *WATCH_SCI, *ON, Handle(SCI, (outw(EN, 0),)), PRESS, Interrupts(SCI, 0), outw(EN, PWRBTN), Interrupts(SCI, 1), inw(EN, 0),
        outw(EN, PWRBTN), Interrupts(SCI, 2), outw(STS, PWRBTN), outw(EN, PWRBTN), elapse(MS), Interrupts(SCI, 2), refs=("irq.sci.level",)),
    acpi("pm.cnt.s5",        "SLP_EN with type 0 powers off",          *ON, outw(CNT, 0), slept(), outw(CNT, 0x2000), slept(0)),
    acpi("pm.cnt.slp_en_ro0", "SLP_EN and GBL_RLS read 0, SLP_TYP reads what was written",
        *ON, outw(CNT, 0x3C05), slept(7), inw(CNT, 0x1C01), outw(CNT, 0x0400), inw(CNT, 0x0400), slept(7), priority=2),
    chip("pm.smi_cmd.enable", "F1 to port B2 sets SCI_EN, F0 clears it", *ON, inw(CNT, 0), outb(0xB2, 0xF1), inw(CNT, 1), outb(0xB2, 0xF0), inw(CNT, 0), inb(0xB2, 0xF0)),
    chip("pm.b3.scratch",    "Port B3 reads what was written",        outb(0xB3, 0x5A), inb(0xB3, 0x5A), outb(0xB3, 0xA5), inb(0xB3, 0xA5), priority=2),
)
# fmt: on
