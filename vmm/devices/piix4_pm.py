"""Function 3 of an 82371AB (PIIX4): ACPI's fixed hardware behind a PCI function; spec/piix4.py names the documents.

The 64 ports lie where the guest puts PMBASE, once PMREGMISC lets them answer.  The timer is worked out when it is read;
where its interrupt is enabled an event is due at the next change of its highest bit.

Omitted: SMI, SMBus, throttling, device monitors and general-purpose events: their registers do nothing or read 0.
DEVACTB begins with APMC_EN set, for SeaBIOS waits for ever for an SMI that never comes where it is clear.
"""

from collections.abc import Callable, Iterator
from typing import Any

from virtproof.spec import piix4 as spec
from virtproof.spec.piix4 import Pm1Control, Pm1Enable, Pm1Status
from virtproof.vmm.bus import Window
from virtproof.vmm.events import Timer
from virtproof.vmm.pci.function import Function, Identity

SECOND = 1_000_000_000
HALF_ROUND = 1 << spec.TIMER_BITS - 1  # clocks after which the highest bit changes
IDENTITY = Identity(spec.VENDOR, spec.DEVICE, spec.CLASS, spec.REVISION, interrupt_pin=1)


class _PmFunction(Function):
    """Answers at one more range of ports than its BARs, of which it has none."""

    def __init__(self, ports: "Piix4Pm") -> None:
        super().__init__(IDENTITY)
        self._ports = ports
        moved: Callable[[int], None] = lambda value: self.moved()  # noqa: E731 -- the bus sets ``moved`` later
        self.add_register(spec.PMBASE, 4, 1, writable=spec.PMBASE_MASK, written=moved)
        self.add_register(spec.DEVACTB, 4, spec.APMC_EN, writable=0xFFFF_FFFF)
        self.add_register(spec.PMREGMISC, 1, writable=spec.PMIOSE, written=moved)
        self.add_register(spec.SMBHSTBASE, 4, 1, writable=0xFFF0)
        self.add_register(spec.SMBHSTCFG, 1, writable=0x0F)

    def windows(self) -> Iterator[Window]:
        yield from super().windows()
        base = self.config.get(spec.PMBASE, 4) & spec.PMBASE_MASK
        if base and self.config.get(spec.PMREGMISC, 1) & spec.PMIOSE:
            yield Window("io", base, spec.PM_PORTS, self._ports, "PIIX4 power management")


class Piix4Pm:
    """``interrupt`` is SCI, a level; ``sleep`` is told the SLP_TYP of a guest that sets SLP_EN.

    >>> from virtproof.vmm.events import EventLoop
    >>> loop = EventLoop()
    >>> pm = Piix4Pm(lambda level: None, print, loop.after, loop.clock.now)
    >>> pm.write(4, 2, 0x2000)
    0
    """

    def __init__(
        self,
        interrupt: Callable[[bool], None],
        sleep: Callable[[int], None],
        after: Callable[[int, Callable[[], None]], Timer],
        now: Callable[[], int],
    ) -> None:
        self._interrupt, self._sleep, self._after, self._now = interrupt, sleep, after, now
        self._status, self._enable, self._control = Pm1Status(0), Pm1Enable(0), Pm1Control(0)
        self._since = now()
        self._seen = 0  # changes of the timer's highest bit that TMR_STS knows of
        self._level = False
        self._timer: Timer | None = None
        self.function: Function = _PmFunction(self)

    def read(self, offset: int, size: int) -> int:
        return self._register(offset & ~3) >> 8 * (offset & 3)

    def write(self, offset: int, size: int, value: int) -> None:
        self._settle()
        for at in range(offset, offset + size):
            low = 8 * (at & 1)
            byte, kept = (value >> 8 * (at - offset) & 0xFF) << low, 0xFF00 >> low
            match at & ~1:
                case spec.PM1_STS:
                    self._status = Pm1Status(self._status & ~byte)
                case spec.PM1_EN:
                    self._enable = Pm1Enable((self._enable & kept | byte) & Pm1Enable.KNOWN)
                case spec.PM1_CNT:
                    self._set_control(Pm1Control((self._control & kept | byte) & Pm1Control.KNOWN))
                case _:
                    pass
        self._update()

    def press_power_button(self) -> None:
        """Somebody wants the guest to shut down."""
        self._status = self._status.but(pwrbtn=1)
        self._update()

    def own(self, acpi: bool) -> None:
        """Hand the hardware to ACPI, or take it back: what a BIOS does upon ACPI_ENABLE and ACPI_DISABLE."""
        self._control = self._control.but(sci_en=acpi)
        self._update()

    def reset(self) -> None:
        self._status, self._enable, self._control = Pm1Status(0), Pm1Enable(0), Pm1Control(0)
        self._seen = self._changes
        self._update()
        self.function.moved()

    def state(self) -> dict[str, Any]:
        self._settle()
        return {
            "registers": [int(self._status), int(self._enable), int(self._control)],
            "timer": self._clocks,
            "level": self._level,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        (status, enable, control), clocks = state["registers"], state["timer"]
        if not all(type(value) is int and 0 <= value < 1 << 64 for value in (status, enable, control, clocks)):
            raise ValueError(f"{state}")
        self._status = Pm1Status(status & Pm1Status.KNOWN)
        self._enable = Pm1Enable(enable & Pm1Enable.KNOWN)
        self._control = Pm1Control(control & Pm1Control.KNOWN).but(slp_en=0, gbl_rls=0)
        self._since = self._now() + -clocks * SECOND // spec.TIMER_HZ
        self._seen, self._level = clocks // HALF_ROUND, bool(state["level"])
        self._update()
        self.function.moved()

    @property
    def _clocks(self) -> int:
        return (self._now() - self._since) * spec.TIMER_HZ // SECOND

    @property
    def _changes(self) -> int:
        return self._clocks // HALF_ROUND

    def _register(self, offset: int) -> int:
        match offset:
            case spec.PM1_STS:
                self._settle()
                return self._status | self._enable << 16
            case spec.PM1_CNT:
                return self._control
            case spec.PM_TMR:
                return self._clocks & (1 << spec.TIMER_BITS) - 1
            case _:
                return 0

    def _set_control(self, control: Pm1Control) -> None:
        self._control = control.but(slp_en=0, gbl_rls=0)
        if control.slp_en:
            self._sleep(control.slp_typ)

    def _settle(self) -> None:
        changes = self._changes
        if changes != self._seen:
            self._seen = changes
            self._status = self._status.but(tmr=1)

    def _update(self) -> None:
        level = bool(self._status & self._enable & Pm1Enable.KNOWN)
        if level != self._level:
            self._level = level
            self._interrupt(level)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._enable.tmr and not self._status.tmr:
            due = -(-(self._seen + 1) * HALF_ROUND * SECOND // spec.TIMER_HZ)
            self._timer = self._after(max(due - (self._now() - self._since), 0), self._timer_changed)

    def _timer_changed(self) -> None:
        self._timer = None
        self._settle()
        self._update()
