"""8259A interrupt controllers, a pair as in a PC: Intel 8259A data sheet; ELCR: Intel 82371SB (PIIX3) data sheet.

Omitted: the modes of an 8080 processor, buffered mode, and LTIM of ICW1, for which ELCR stands.  An edge, once noticed,
is kept until it is acknowledged, though the line fall: lines of a monitor are pulsed, and its guests are late.
"""

# ruff: noqa: E701 -- one operation, one line

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from virtproof.spec import i8259
from virtproof.spec.i8259 import CASCADE, COMMAND, LINES, SPURIOUS, Icw1, Icw4, Ocw2, Ocw3, Operation, PollWord

_ALL = (1 << LINES) - 1
_BYTES = "irr", "imr", "isr", "lines", "elcr", "base", "lowest", "step"
_FLAGS = "read_isr", "polls", "special_mask", "needs_icw4", "single", "auto_eoi", "rotates", "nested"


class Step(IntEnum):
    """Which word the data port takes next."""

    MASK, ICW2, ICW3, ICW4 = range(4)


class Pic:
    """One chip: two byte-wide ports, eight lines, one output.

    ``slave`` is the chip behind line 2; ``output`` is told of INT when it changes; ``ended`` of each line of this chip
    whose interrupt was ended.

    >>> from virtproof.vmm.devices.pic import Pic
    >>> pic = Pic(output=print)
    >>> for port, value in ((0, 0x11), (1, 0x20), (1, 4), (1, 1)): pic.write(port, 1, value)
    >>> pic.set_line(3, True)
    True
    >>> hex(pic.acknowledge())
    False
    '0x23'
    """

    def __init__(
        self,
        output: Callable[[bool], None],
        *,
        slave: Pic | None = None,
        elcr_mask: int = i8259.ELCR_MASKS[0],
        ended: Callable[[int], None] = lambda line: None,
    ) -> None:
        self._output, self._ended, self._slave, self._elcr_mask = output, ended, slave, elcr_mask
        # The data sheet leaves them undefined before ICW1; KVM's are zero, and kernels without firmware rely on it.
        self.irr = self.imr = self.isr = self.lines = self.elcr = self.base = 0
        self.lowest = SPURIOUS  # the line of the lowest priority; the next one has the highest
        self.step = Step.MASK
        self.read_isr = self.polls = self.special_mask = self.needs_icw4 = False
        self.single = self.auto_eoi = self.rotates = self.nested = False
        self.int = False

    # ---- lines

    def set_line(self, line: int, level: bool) -> None:
        bit = 1 << line & _ALL
        if self.elcr & bit:
            self.irr = self.irr | bit if level else self.irr & ~bit
        elif level and not self.lines & bit:
            self.irr |= bit
        self.lines = self.lines | bit if level else self.lines & ~bit
        if line == CASCADE and self._slave is not None and not level:
            self.irr &= ~bit  # the slave's output is no pulse: it falls when nothing waits any more
        self._update()

    def acknowledge(self) -> int:
        """INTA: return the vector of the most urgent line.  Without one that is line 7's, and nothing is in service."""
        line = self._candidate()
        if line is None:
            return self.base | SPURIOUS
        if line == CASCADE and self._slave is not None:
            self._serve(line)
            return self._slave.acknowledge()
        self._serve(line)
        return self.base | line

    # ---- ports

    def read(self, offset: int, size: int) -> int:
        if self.polls:
            self.polls = False
            line = self._candidate()
            if line is None:
                return 0
            self._serve(line)
            return PollWord(0).but(interrupt=1, level=line)
        if offset != COMMAND:
            return self.imr
        return self.isr if self.read_isr else self.irr

    def write(self, offset: int, size: int, value: int) -> None:
        value &= 0xFF
        if offset != COMMAND:
            self._write_data(value)
        elif value & Icw1.init.mask:
            self._initialize(Icw1(value))
        elif value & Ocw3.ocw3.mask:
            self._control(Ocw3(value))
        else:
            self._operate(Ocw2(value))
        self._update()

    def write_elcr(self, value: int) -> None:
        """Say which lines are level-triggered, a bit each."""
        self.elcr = value & self._elcr_mask
        self.irr = self.irr & ~self.elcr | self.lines & self.elcr
        self._update()

    def state(self) -> dict[str, Any]:
        return {
            **{name: int(getattr(self, name)) for name in _BYTES},
            **{name: bool(getattr(self, name)) for name in _FLAGS},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""
        values = dict(zip(_BYTES, bytes(state[name] for name in _BYTES), strict=True))
        if values["lowest"] >= LINES or values["step"] > Step.ICW4:
            raise ValueError(f"{values}")
        for name, value in values.items():
            setattr(self, name, value)
        self.step = Step(self.step)
        for name in _FLAGS:
            setattr(self, name, bool(state[name]))
        self.base &= 0xF8
        self.elcr &= self._elcr_mask
        self._update()

    # ---- inside

    def _rank(self, line: int) -> int:
        """0: the most urgent."""
        return (line - self.lowest - 1) % LINES

    def _most_urgent(self, of: int) -> int | None:
        first = self.lowest + 1
        turned = (of | of << LINES) >> first % LINES & _ALL
        return (first + (turned & -turned).bit_length() - 1) % LINES if turned else None

    def _candidate(self) -> int | None:
        """The line to acknowledge: the most urgent that asks, unless one in service is as urgent."""
        line = self._most_urgent(self.irr & ~self.imr)
        if line is None:
            return None
        service = self.isr & ~self.imr if self.special_mask else self.isr
        if self.nested and line == CASCADE and self._slave is not None:
            service &= ~(1 << CASCADE)
        busy = self._most_urgent(service)
        return line if busy is None or self._rank(line) < self._rank(busy) else None

    def _update(self) -> None:
        wants = self.step == Step.MASK and self._candidate() is not None
        if wants != self.int:
            self.int = wants
            self._output(wants)

    def _serve(self, line: int) -> None:
        bit = 1 << line
        if not self.elcr & bit and not (line == CASCADE and self._slave is not None):
            self.irr &= ~bit
        if self.auto_eoi:
            if self.rotates:
                self.lowest = line
            self._ended(line)
        else:
            self.isr |= bit
        self._update()

    def _end(self, line: int | None, *, rotate: bool) -> None:
        if line is None:
            return
        was = self.isr & 1 << line
        self.isr &= ~(1 << line)
        if rotate:
            self.lowest = line
        self._update()
        if was:
            self._ended(line)

    def _operate(self, word: Ocw2) -> None:
        in_service = self.isr & ~self.imr if self.special_mask else self.isr
        # fmt: off
        match Operation(word.operation):
            case Operation.ROTATE_IN_AEOI_CLEAR:       self.rotates = False
            case Operation.ROTATE_IN_AEOI_SET:         self.rotates = True
            case Operation.NON_SPECIFIC_EOI:           self._end(self._most_urgent(in_service), rotate=False)
            case Operation.ROTATE_ON_NON_SPECIFIC_EOI: self._end(self._most_urgent(in_service), rotate=True)
            case Operation.SPECIFIC_EOI:               self._end(word.level, rotate=False)
            case Operation.ROTATE_ON_SPECIFIC_EOI:     self._end(word.level, rotate=True)
            case Operation.SET_PRIORITY:               self.lowest = word.level
            case Operation.NOTHING:                    pass
        # fmt: on

    def _control(self, word: Ocw3) -> None:
        self.polls = word.poll
        if word.rr and not word.poll:
            self.read_isr = word.ris
        if word.esmm:
            self.special_mask = word.smm

    def _initialize(self, word: Icw1) -> None:
        """Edges that came before are forgotten; levels and the slave's request are there still."""
        standing = self.elcr | (1 << CASCADE if self._slave is not None else 0)
        self.irr = self.lines & standing
        self.imr = self.isr = 0
        self.lowest = SPURIOUS
        self.read_isr = self.polls = self.special_mask = self.auto_eoi = self.rotates = self.nested = False
        self.needs_icw4, self.single = word.ic4, word.sngl
        self.step = Step.ICW2

    def _write_data(self, value: int) -> None:
        match self.step:
            case Step.ICW2:
                self.base = value & 0xF8
                self.step = Step.ICW3 if not self.single else Step.ICW4 if self.needs_icw4 else Step.MASK
            case Step.ICW3:  # which line has a slave is the board's to say
                self.step = Step.ICW4 if self.needs_icw4 else Step.MASK
            case Step.ICW4:
                mode = Icw4(value)
                self.auto_eoi, self.nested = mode.aeoi, mode.sfnm
                self.step = Step.MASK
            case _:
                self.imr = value


class Elcr:
    """The edge/level control registers of both chips: two byte-wide ports."""

    def __init__(self, master: Pic, slave: Pic) -> None:
        self._chips = master, slave

    def read(self, offset: int, size: int) -> int:
        return self._chips[offset & 1].elcr

    def write(self, offset: int, size: int, value: int) -> None:
        self._chips[offset & 1].write_elcr(value)

    def state(self) -> dict[str, Any]:
        """Nothing: the chips keep it."""
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


class PicPair:
    """Master and slave: lines 0 to 15.  ``output`` is the master's INT; ``ended`` is told of lines."""

    def __init__(self, output: Callable[[bool], None], ended: Callable[[int], None] = lambda line: None) -> None:
        self.slave = Pic(
            lambda level: self.master.set_line(CASCADE, level),
            elcr_mask=i8259.ELCR_MASKS[1],
            ended=lambda line: ended(LINES + line),
        )
        self.master = Pic(output, slave=self.slave, elcr_mask=i8259.ELCR_MASKS[0], ended=ended)
        self.elcr = Elcr(self.master, self.slave)

    def set_line(self, line: int, level: bool) -> None:
        """Drive line 0 to 15; 2 leads nowhere, the slave is there."""
        if line >= LINES:
            self.slave.set_line(line - LINES, level)
        elif line != CASCADE:
            self.master.set_line(line, level)

    @property
    def pending(self) -> bool:
        return self.master.int

    def acknowledge(self) -> int:
        return self.master.acknowledge()
