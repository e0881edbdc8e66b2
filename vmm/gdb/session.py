"""One debugging session: what packets ask for, and the answers.  GDB manual, "Packets" and the chapters after it.

The session knows no socket and runs no guest: it answers a payload with a payload, or says that the guest is to go on.
A vCPU is a thread, numbered from 1.  What nobody here understands gets the empty answer, as the protocol has it; what
is malformed or refused gets an error number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

from virtproof.spec.fault import Fault
from virtproof.vmm.backing import GuestMemoryError
from virtproof.vmm.gdb.debuggee import Debuggee, GdbSignal, Kind, Point, Resume, Stop
from virtproof.vmm.gdb.monitor import monitor
from virtproof.vmm.gdb.packets import MAX_PAYLOAD
from virtproof.vmm.gdb.registers import FILES, Register

OK, UNKNOWN = b"OK", b""

_EFAULT, _EINVAL, _EIO = b"E0e", b"E16", b"E05"
_MOST = (MAX_PAYLOAD - 8) // 2  # bytes that fit an answer as hexadecimal digits
_TOP = 1 << 64
_NUMBER = re.compile(rb"[0-9a-fA-F]{1,16}")


class Malformed(Exception):
    """A packet that does not have the form that its first letters promise."""


class Leave(Enum):
    """The debugger goes: the guest runs on without it, or ends."""

    DETACH = auto()
    KILL = auto()


Answer = bytes | Resume | Leave


class Session:
    """The state of a conversation; ``handle`` never raises, whatever the packet."""

    def __init__(self, debuggee: Debuggee, *, bits: int = 64, stop: Stop | None = None) -> None:
        self.no_acks = False
        self._debuggee = debuggee
        self._file = FILES[bits]
        self._stop = stop or Stop(GdbSignal.TRAP)
        self._vcpu = self._stop.vcpu  # that g, m and Z are about
        self._running: int | None = None  # that c and s are about; None: all
        self._tells_breakpoints = False

    def stopped(self, stop: Stop) -> bytes:
        """Take note that the guest has stopped; return what the debugger is to be told."""
        self._stop, self._vcpu = stop, stop.vcpu
        return self._told()

    def handle(self, packet: bytes) -> Answer:
        try:
            for prefix, answer in _ANSWERS:
                if packet.startswith(prefix):
                    return answer(self, packet[len(prefix) :])
        except Malformed:
            return _EINVAL
        except GuestMemoryError:
            return _EFAULT
        except Fault:
            return _EIO
        return UNKNOWN

    # ---- why it stopped, and who is there

    def _told(self) -> bytes:
        signal, vcpu, point = self._stop
        text = f"T{signal:02x}thread:{vcpu + 1:x};"
        match point:
            case Point(Kind.WRITE, address):
                text += f"watch:{address:x};"
            case Point(Kind.ACCESS, address):
                text += f"awatch:{address:x};"
            case Point(kind) if self._tells_breakpoints:
                text += "swbreak:;" if kind is Kind.SOFTWARE else "hwbreak:;"
        return text.encode()

    def _why(self, rest: bytes) -> bytes:
        return self._told()

    def _supported(self, rest: bytes) -> bytes:
        self._tells_breakpoints = b"swbreak+" in rest
        return b"PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+" % MAX_PAYLOAD

    def _stop_acks(self, rest: bytes) -> bytes:
        self.no_acks = True
        return OK

    def _description(self, rest: bytes) -> bytes:
        """``target.xml:OFFSET,LENGTH``"""
        name, _, piece = rest.partition(b":")
        if name != b"target.xml":
            return b"E00"
        start, length = _pair(piece)
        xml = self._file.description
        data = xml[start : start + min(length, _MOST)]
        return (b"m" if start + len(data) < len(xml) else b"l") + data

    def _threads(self, rest: bytes) -> bytes:
        return b"m" + b",".join(b"%x" % (vcpu + 1) for vcpu in range(self._debuggee.vcpus))

    def _thread_name(self, rest: bytes) -> bytes:
        return self._debuggee.about(self._thread(rest)).encode().hex().encode()

    def _current(self, rest: bytes) -> bytes:
        return UNKNOWN if rest else b"QC%x" % (self._vcpu + 1)  # with more behind it, it is another packet

    def _alive(self, rest: bytes) -> bytes:
        self._thread(rest)
        return OK

    def _select(self, rest: bytes) -> bytes:
        """``g`` or ``c``, and a thread; 0 and -1 are any, and all."""
        operation, thread = rest[:1], rest[1:]
        every = thread in {b"0", b"-1"}
        match operation:
            case b"g":
                self._vcpu = self._vcpu if every else self._thread(thread)
            case b"c":
                self._running = None if every else self._thread(thread)
            case _:
                raise Malformed
        return OK

    def _thread(self, text: bytes) -> int:
        vcpu = _number(text) - 1
        if not 0 <= vcpu < self._debuggee.vcpus:
            raise Malformed
        return vcpu

    # ---- registers

    def _read_registers(self, rest: bytes) -> bytes:
        state = self._debuggee.state(self._vcpu)
        return b"".join(register.read(state) for register in self._file.registers).hex().encode()

    def _write_registers(self, rest: bytes) -> bytes:
        data = _bytes(rest)
        state, at = self._debuggee.state(self._vcpu), 0
        for register in self._file.registers:
            if at < len(data):  # GDB may send the first ones only
                register.write(state, _exactly(register, data[at : at + register.size]))
            at += register.size
        self._debuggee.set_state(self._vcpu, state)
        return OK

    def _read_register(self, rest: bytes) -> bytes:
        return self._register(rest).read(self._debuggee.state(self._vcpu)).hex().encode()

    def _write_register(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        register = self._register(number)
        state = self._debuggee.state(self._vcpu)
        register.write(state, _exactly(register, _bytes(value)))
        self._debuggee.set_state(self._vcpu, state)
        return OK

    def _register(self, number: bytes) -> Register:
        index = _number(number)
        if index >= len(self._file.registers):
            raise Malformed
        return self._file.registers[index]

    # ---- memory

    def _read_memory(self, rest: bytes) -> bytes:
        address, length = _pair(rest)
        return self._debuggee.read(self._vcpu, address, min(length, _MOST)).hex().encode() if length else b""

    def _write_memory(self, rest: bytes) -> bytes:
        place, _, digits = rest.partition(b":")
        return self._write(place, _bytes(digits))

    def _write_binary(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        return self._write(place, data)

    def _write(self, place: bytes, data: bytes) -> bytes:
        address, length = _pair(place)
        if length != len(data):
            raise Malformed
        if data:
            self._debuggee.write(self._vcpu, address, data)
        return OK

    # ---- breakpoints

    def _insert(self, rest: bytes) -> bytes:
        return OK if self._debuggee.insert(self._vcpu, _point(rest)) else UNKNOWN

    def _remove(self, rest: bytes) -> bytes:
        self._debuggee.remove(_point(rest))
        return OK

    # ---- going on

    def _vcont(self, rest: bytes) -> Resume:
        """``;ACTION[:THREAD]`` once or more; the leftmost that names a thread counts."""
        chosen: dict[int, bool] = {}  # vCPU: does it step?
        first, *actions = rest.split(b";")
        if first or not actions:
            raise Malformed
        for action in actions:
            what, colon, thread = action.partition(b":")
            step = what[:1] in {b"s", b"S"}
            if not re.fullmatch(rb"[cs]|[CS][0-9a-fA-F]{2}", what):  # a guest takes no signals
                raise Malformed
            every = not colon or thread == b"-1"
            for vcpu in range(self._debuggee.vcpus) if every else (self._thread(thread),):
                chosen.setdefault(vcpu, step)
        steps = frozenset(vcpu for vcpu, step in chosen.items() if step)
        return Resume(steps, frozenset(chosen) - steps)

    def _continue(self, rest: bytes) -> Resume:
        self._jump(rest)
        every = range(self._debuggee.vcpus) if self._running is None else (self._running,)
        return Resume(runs=frozenset(every))

    def _step(self, rest: bytes) -> Resume:
        self._jump(rest)
        return Resume(steps=frozenset({self._vcpu if self._running is None else self._running}))

    def _jump(self, address: bytes) -> None:
        if address:
            state = self._debuggee.state(self._vcpu)
            state.general.rip = _number(address)
            self._debuggee.set_state(self._vcpu, state)

    # ---- all else

    def _monitor(self, rest: bytes) -> bytes:
        text = monitor(self._debuggee, self._vcpu, _bytes(rest).decode(errors="replace"))
        return text.encode(errors="replace")[:_MOST].hex().encode() or OK


# fmt: off
_ANSWERS: tuple[tuple[bytes, Callable[[Session, bytes], Answer]], ...] = (
    (b"?",                        Session._why),
    (b"g",                        Session._read_registers),
    (b"G",                        Session._write_registers),
    (b"p",                        Session._read_register),
    (b"P",                        Session._write_register),
    (b"m",                        Session._read_memory),
    (b"M",                        Session._write_memory),
    (b"X",                        Session._write_binary),
    (b"Z",                        Session._insert),
    (b"z",                        Session._remove),
    (b"H",                        Session._select),
    (b"T",                        Session._alive),
    (b"vCont?",                   lambda session, rest: b"vCont;c;C;s;S"),
    (b"vCont",                    Session._vcont),
    (b"vKill",                    lambda session, rest: Leave.KILL),
    (b"c",                        Session._continue),
    (b"s",                        Session._step),
    (b"D",                        lambda session, rest: Leave.DETACH),
    (b"k",                        lambda session, rest: Leave.KILL),
    (b"qSupported",               Session._supported),
    (b"QStartNoAckMode",          Session._stop_acks),
    (b"qXfer:features:read:",     Session._description),
    (b"qAttached",                lambda session, rest: b"1"),  # when GDB leaves, the guest runs on
    (b"qfThreadInfo",             Session._threads),
    (b"qsThreadInfo",             lambda session, rest: b"l"),
    (b"qThreadExtraInfo,",        Session._thread_name),
    (b"qC",                       Session._current),
    (b"qRcmd,",                   Session._monitor),
)
# fmt: on


def _number(text: bytes) -> int:
    if not _NUMBER.fullmatch(text):
        raise Malformed
    return int(text, 16)


def _pair(text: bytes) -> tuple[int, int]:
    """``ADDRESS,LENGTH``, a range that does not wrap."""
    address, _, length = text.partition(b",")
    first, count = _number(address), _number(length)
    if first + count > _TOP:
        raise Malformed
    return first, count


def _bytes(digits: bytes) -> bytes:
    if len(digits) % 2 or not re.fullmatch(rb"[0-9a-fA-F]*", digits):
        raise Malformed
    return bytes.fromhex(digits.decode())


def _exactly(register: Register, data: bytes) -> bytes:
    if len(data) != register.size:
        raise Malformed
    return data


def _point(text: bytes) -> Point:
    """``KIND,ADDRESS,LENGTH``, and maybe conditions, which GDB sends to those only who offer to check them."""
    kind, _, place = text.partition(b",")
    if not re.fullmatch(rb"[0-4]", kind):
        raise Malformed
    return Point(Kind(int(kind)), *_pair(place))
