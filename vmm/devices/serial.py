"""16550A UART: National Semiconductor PC16550D data sheet; the interrupt goes through OUT2 as in a PC.

Omitted: sending takes no time, so THRE and TEMT are always set and the transmit FIFO is always empty; word length,
parity and break do not change data, and parity, framing and break errors never happen; DMA signals do not exist.  The
other end of the line is always there: CTS, DSR and DCD are active, RI is not.
"""
# ruff: noqa: E701 -- one register, one line

from collections import deque
from collections.abc import Callable
from typing import Any

from virtproof.spec import uart16550 as uart
from virtproof.spec.uart16550 import Fcr, Ier, Iir, InterruptId, Lcr, Lsr, Mcr, Msr
from virtproof.vmm.events import Timer

CONNECTED = Msr(0).but(cts=1, dsr=1, dcd=1)


class Serial:
    """Eight byte-wide ports, one interrupt line, one output; ``after`` is that of an event loop.

    >>> from virtproof.vmm.events import EventLoop
    >>> out, loop = bytearray(), EventLoop()
    >>> com1 = Serial(transmit=out.append, interrupt=lambda level: None, after=loop.after)
    >>> com1.write(uart.DATA, 1, ord("A")); bytes(out)
    b'A'
    """

    def __init__(
        self,
        transmit: Callable[[int], None],
        interrupt: Callable[[bool], None],
        after: Callable[[int, Callable[[], None]], Timer],
    ) -> None:
        self._transmit, self._interrupt, self._after = transmit, interrupt, after
        self._divisor = 12  # 9600 baud; the data sheet leaves it undefined
        self._ier, self._fcr, self._lcr, self._mcr = Ier(0), Fcr(0), Lcr(0), Mcr(0)
        self._msr = CONNECTED
        self._scratch = 0
        self._received: deque[int] = deque()  # never more than _depth
        self._last = 0  # what RBR holds when nothing is waiting
        self._overrun = False
        self._thr_empty = False  # the interrupt, not the state: that is always true
        self._timed_out = False
        self._timer: Timer | None = None
        self._level = False

    # fmt: off
    def read(self, offset: int, size: int) -> int:
        match offset:
            case uart.DATA if self._lcr.dlab: return self._divisor & 0xFF
            case uart.IER  if self._lcr.dlab: return self._divisor >> 8
            case uart.DATA:                   return self._take()
            case uart.IER:                    return self._ier
            case uart.IIR_FCR:                return self._identify()
            case uart.LCR:                    return self._lcr
            case uart.MCR:                    return self._mcr
            case uart.LSR:                    return self._line_status()
            case uart.MSR:                    return self._modem_status()
            case uart.SCR:                    return self._scratch
            case _:                           return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        match offset:
            case uart.DATA if self._lcr.dlab: self._divisor = self._divisor & 0xFF00 | value
            case uart.IER  if self._lcr.dlab: self._divisor = self._divisor & 0x00FF | value << 8
            case uart.DATA:                   self._send(value)
            case uart.IER:                    self._enable(Ier(value & Ier.KNOWN))
            case uart.IIR_FCR:                self._control_fifo(Fcr(value & Fcr.KNOWN))
            case uart.LCR:                    self._lcr = Lcr(value)
            case uart.MCR:                    self._control_modem(Mcr(value & Mcr.KNOWN))
            case uart.SCR:                    self._scratch = value
            case _:                           pass  # LSR and MSR are read-only
        self._update()
    # fmt: on

    def state(self) -> dict[str, Any]:
        """What is to be saved; a silence that was being waited for begins anew."""
        registers = self._divisor, self._ier, self._fcr, self._lcr, self._mcr, self._msr
        return {
            "registers": [int(value) for value in registers],
            "scratch": self._scratch,
            "received": list(self._received),
            "last": self._last,
            "flags": [self._overrun, self._thr_empty, self._timed_out],
            "level": self._level,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        divisor, *registers = state["registers"]
        ier, fcr, lcr, mcr, msr = bytes(registers)
        received, (scratch, last) = bytes(state["received"]), bytes([state["scratch"], state["last"]])
        overrun, thr_empty, timed_out = map(bool, state["flags"])
        if not 0 <= divisor <= 0xFFFF:
            raise ValueError(f"divisor {divisor}")
        self._divisor, self._scratch, self._last = divisor, scratch, last
        self._ier, self._fcr = Ier(ier & Ier.KNOWN), Fcr(fcr & Fcr.KNOWN)
        self._lcr, self._mcr, self._msr = Lcr(lcr), Mcr(mcr & Mcr.KNOWN), Msr(msr)
        self._received = deque(received[: self._depth])
        self._restart_timeout()
        self._overrun, self._thr_empty, self._timed_out = overrun, thr_empty, timed_out
        self._level = bool(state["level"])

    @property
    def room(self) -> int:
        """How many bytes ``receive`` takes without an overrun; a back end that can wait sends no more."""
        return 0 if self._mcr.loop else self._depth - len(self._received)

    def receive(self, data: bytes) -> None:
        """Bytes arrive on the line.  What does not fit is lost and sets OE; in loop-back the line is cut."""
        if not self._mcr.loop:
            for byte in data:
                self._accept(byte)
            self._update()

    @property
    def _depth(self) -> int:
        return uart.FIFO_DEPTH if self._fcr.enable else 1

    @property
    def _source(self) -> InterruptId:
        """The most urgent enabled interrupt."""
        ier = self._ier
        if not ier:  # the common case of polled output, and the fields below are not free
            return InterruptId.NONE
        if ier.elsi and self._overrun:
            return InterruptId.LINE_STATUS
        if ier.erbfi and len(self._received) >= uart.TRIGGER_LEVELS[self._fcr.trigger]:
            return InterruptId.DATA_AVAILABLE
        if ier.erbfi and self._timed_out:
            return InterruptId.CHARACTER_TIMEOUT
        if ier.etbei and self._thr_empty:
            return InterruptId.THR_EMPTY
        if ier.edssi and self._msr & 0x0F:
            return InterruptId.MODEM_STATUS
        return InterruptId.NONE

    def _update(self) -> None:
        # In loop-back the OUT2 pin is inactive, whatever its bit says.
        level = self._source is not InterruptId.NONE and self._mcr.out2 and not self._mcr.loop
        if level != self._level:
            self._level = level
            self._interrupt(level)

    def _take(self) -> int:
        if self._received:
            self._last = self._received.popleft()
            self._restart_timeout()
            self._update()
        return self._last

    def _identify(self) -> int:
        source = self._source
        if source is InterruptId.THR_EMPTY:
            self._thr_empty = False
            self._update()
        return Iir(0).but(id=source, fifos=0b11 if self._fcr.enable else 0)

    def _line_status(self) -> int:
        status = Lsr(0).but(dr=bool(self._received), oe=self._overrun, thre=1, temt=1)
        self._overrun = False
        self._update()
        return status

    def _modem_status(self) -> int:
        status = self._msr
        self._msr = Msr(status & 0xF0)
        self._update()
        return status

    def _send(self, value: int) -> None:
        self._thr_empty = False
        self._update()  # the line falls and rises again: an edge-triggered controller must see the next interrupt
        if self._mcr.loop:
            self._accept(value)
        else:
            self._transmit(value)
        self._thr_empty = True

    def _accept(self, byte: int) -> None:
        if len(self._received) >= self._depth:
            self._overrun = True
            if self._fcr.enable:
                return  # the byte is lost in the shift register
            self._received.clear()  # without FIFOs it overwrites its predecessor
        self._received.append(byte)
        self._restart_timeout()

    def _enable(self, ier: Ier) -> None:
        if ier.etbei and not self._ier.etbei:
            self._thr_empty = True  # the register is empty now: drivers wait for this first interrupt
        self._ier = ier

    def _control_fifo(self, fcr: Fcr) -> None:
        if fcr.enable != self._fcr.enable or (fcr.enable and fcr.rx_reset):
            self._received.clear()
            self._restart_timeout()
        self._fcr = fcr.but(rx_reset=0, tx_reset=0) if fcr.enable else Fcr(0)

    def _control_modem(self, mcr: Mcr) -> None:
        before = self._msr
        self._mcr = mcr
        now = Msr(0).but(cts=mcr.rts, dsr=mcr.dtr, ri=mcr.out1, dcd=mcr.out2) if mcr.loop else CONNECTED
        self._msr = now.but(
            dcts=before.dcts or before.cts != now.cts,
            ddsr=before.ddsr or before.dsr != now.dsr,
            teri=before.teri or (before.ri and not now.ri),
            ddcd=before.ddcd or before.dcd != now.dcd,
        )

    def _restart_timeout(self) -> None:
        """Wait anew for the silence after which bytes below the trigger level raise an interrupt."""
        self._timed_out = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._received and self._fcr.enable:
            self._timer = self._after(self._silence_ns(), self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._timed_out = True
        self._update()

    def _silence_ns(self) -> int:
        # Half a stop bit more or less does not matter here.
        bits = 1 + (5 + self._lcr.wls) + self._lcr.pen + (2 if self._lcr.stb else 1)
        return uart.TIMEOUT_CHARACTERS * bits * 16 * max(self._divisor, 1) * 1_000_000_000 // uart.CLOCK_HZ
