"""What a session answers, without a guest."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET

import pytest

from tests.vmm.gdb.fake import SIZE, FakeDebuggee
from virtproof.vmm.gdb.debuggee import GdbSignal, Kind, Point, Resume, Stop
from virtproof.vmm.gdb.packets import MAX_PAYLOAD
from virtproof.vmm.gdb.registers import FILES, Register
from virtproof.vmm.gdb.session import Leave, Session

BOTH = frozenset({0, 1})

# fmt: off
ANSWERS = (
    (b"?",                        b"T05thread:1;"),
    (b"qC",                       b"QC1"),
    (b"qCRC:0,1",                 b""),
    (b"qAttached",                b"1"),
    (b"qfThreadInfo",             b"m1,2"),
    (b"qsThreadInfo",             b"l"),
    (b"qThreadExtraInfo,2",       b"vCPU 1".hex().encode()),
    (b"qThreadExtraInfo,3",       b"E16"),
    (b"T2",                       b"OK"),
    (b"T3",                       b"E16"),
    (b"T0",                       b"E16"),
    (b"Hg2",                      b"OK"),
    (b"Hg0",                      b"OK"),
    (b"Hc-1",                     b"OK"),
    (b"Hg9",                      b"E16"),
    (b"Hx1",                      b"E16"),
    (b"H",                        b"E16"),
    (b"vCont?",                   b"vCont;c;C;s;S"),
    (b"vMustReplyEmpty",          b""),
    (b"!",                        b""),
    (b"",                         b""),
    (b"\xff\xfe",                 b""),
    (b"m1000,4",                  b"00010203"),
    (b"m10fe,8",                  b"feff"),         # what there is
    (b"m1100,1",                  b"E0e"),
    (b"m1000,0",                  b""),
    (b"m1000",                    b"E16"),
    (b"m,",                       b"E16"),
    (b"m-1,4",                    b"E16"),
    (b"m0x1000,4",                b"E16"),
    (b"mffffffffffffffff,2",      b"E16"),          # past the end of all addresses
    (b"m11112222333344445,1",     b"E16"),          # more than 64 bits
    (b"M1000,2:aabb",             b"OK"),
    (b"M1000,2:aa",               b"E16"),
    (b"M1000,1:a",                b"E16"),
    (b"M1000,1:zz",               b"E16"),
    (b"M10ff,2:aabb",             b"E0e"),
    (b"X1000,2:\x00\xff",         b"OK"),
    (b"X1000,0:",                 b"OK"),
    (b"X1000,3:\x00\xff",         b"E16"),
    (b"X2000,1:\x00",             b"E0e"),
    (b"p10",                      b"0010000000000000"),
    (b"pfff",                     b"E16"),
    (b"p",                        b"E16"),
    (b"P0=8877665544332211",      b"OK"),
    (b"P0=88",                    b"E16"),
    (b"P0",                       b"E16"),
    (b"P12=33000000",             b"E05"),          # CS: another selector needs another descriptor
    (b"P12=00000000",             b"OK"),
    (b"G00",                      b"E16"),
    (b"Z0,1000,1",                b"OK"),
    (b"Z1,1000,1",                b"OK"),
    (b"Z2,1000,4",                b""),
    (b"Z5,1000,1",                b"E16"),
    (b"Z0,1000",                  b"E16"),
    (b"Z0",                       b"E16"),
    (b"z0,1000,1",                b"OK"),
    (b"vCont",                    b"E16"),
    (b"vCont;x",                  b"E16"),
    (b"vCont;c:7",                b"E16"),
    (b"vCont;c;",                 b"E16"),
    (b"vCont;C",                  b"E16"),
    (b"czz",                      b"E16"),
    (b"c",                        Resume(runs=BOTH)),
    (b"s",                        Resume(steps=frozenset({0}))),
    (b"vCont;c",                  Resume(runs=BOTH)),
    (b"vCont;s:2;c",              Resume(frozenset({1}), frozenset({0}))),
    (b"vCont;s:2",                Resume(frozenset({1}))),
    (b"vCont;C05:1;S05:-1",       Resume(frozenset({1}), frozenset({0}))),
    (b"D",                        Leave.DETACH),
    (b"k",                        Leave.KILL),
    (b"vKill;1",                  Leave.KILL),
    (b"qXfer:features:read:other.xml:0,10", b"E00"),
    (b"qXfer:features:read:target.xml:0",   b"E16"),
    (b"qXfer:features:read:target.xml:ffffff,10", b"l"),
    (b"qRcmd,zz",                 b"E16"),
)
# fmt: on


@pytest.mark.parametrize(("packet", "answer"), ANSWERS)
def test_answers(packet: bytes, answer: object) -> None:
    assert Session(FakeDebuggee()).handle(packet) == answer


def test_memory_is_written_as_asked() -> None:
    it = FakeDebuggee()
    session = Session(it)
    session.handle(b"M1000,2:aabb")
    session.handle(b"X1002,2:\x00#")
    assert it.memory[:4] == b"\xaa\xbb\0#"


def test_an_answer_is_never_longer_than_a_packet() -> None:
    it = FakeDebuggee()
    it.memory = bytearray(MAX_PAYLOAD)
    answer = Session(it).handle(b"m1000,ffffff")
    assert isinstance(answer, bytes)
    assert 0 < len(answer) <= MAX_PAYLOAD


@pytest.mark.parametrize("bits", [32, 64])
def test_the_description_names_every_register_in_the_order_of_the_g_packet(bits: int) -> None:
    session, read, xml = Session(FakeDebuggee(), bits=bits), b"m", b""
    while read.startswith(b"m"):
        answer = session.handle(b"qXfer:features:read:target.xml:%x,123" % len(xml))
        assert isinstance(answer, bytes)
        read, xml = answer, xml + answer[1:]
    tree = ET.fromstring(xml)
    sizes = [(row.get("name"), int(row.get("bitsize", "0"))) for row in tree.iter("reg")]
    assert sizes == [(row.name, row.bits) for row in FILES[bits].registers]
    assert tree.findtext("architecture") == FILES[bits].architecture
    registers = session.handle(b"g")
    assert isinstance(registers, bytes)
    assert len(registers) == sum(bits for _, bits in sizes) // 4


def test_registers_of_the_selected_vcpu_are_changed_and_no_other() -> None:
    it = FakeDebuggee()
    session = Session(it)
    session.handle(b"Hg2")
    session.handle(b"P3=0100000000000000")
    assert (it.states[0].general.rdx, it.states[1].general.rdx) == (0, 1)


@pytest.mark.parametrize("bits", [32, 64])
def test_every_register_is_written_and_read_alone_and_all_together(bits: int) -> None:
    session = Session(FakeDebuggee(), bits=bits)
    rows = FILES[bits].registers
    for number, row in enumerate(rows):
        if row.place.endswith("selector"):
            continue
        value = _pattern(number, row).hex().encode()
        assert session.handle(b"P%x=%b" % (number, value)) == b"OK"
        assert session.handle(b"p%x" % number) == value, row.name
    every = session.handle(b"g")
    assert isinstance(every, bytes)
    assert session.handle(b"G" + every) == b"OK"
    assert session.handle(b"g") == every


def _pattern(number: int, row: Register) -> bytes:
    # The tag word has two bits a register of which we keep one; fiseg and foseg are one and the same nothing.
    field = row.place.rpartition(".")[2]
    bits = {"fcw": 16, "fsw": 16, "fop": 16, "reserved": 1, "ftw": 0}.get(field, row.bits)
    return (int.from_bytes(bytes([number + 1]) * row.size, "little") & (1 << bits) - 1).to_bytes(row.size, "little")


def test_breakpoints_are_refused_with_an_error_where_there_is_no_room() -> None:
    session = Session(FakeDebuggee())
    answers = [session.handle(b"Z0,%x,1" % address) for address in (0x1000, 0x1001, 0x1002)]
    assert answers == [b"OK", b"OK", b"E05"]


# fmt: off
STOPS = (
    (Stop(GdbSignal.INT, 1),                                     b"T02thread:2;"),
    (Stop(GdbSignal.TRAP, 0, Point(Kind.SOFTWARE, 0x1000)),      b"T05thread:1;swbreak:;"),
    (Stop(GdbSignal.TRAP, 0, Point(Kind.EXECUTE, 0x1000)),       b"T05thread:1;hwbreak:;"),
    (Stop(GdbSignal.TRAP, 0, Point(Kind.WRITE, 0x1000, 4)),      b"T05thread:1;watch:1000;"),
    (Stop(GdbSignal.TRAP, 0, Point(Kind.ACCESS, 0x1000, 4)),     b"T05thread:1;awatch:1000;"),
)
# fmt: on


@pytest.mark.parametrize(("stop", "told"), STOPS)
def test_why_the_guest_stopped(stop: Stop, told: bytes) -> None:
    session = Session(FakeDebuggee())
    session.handle(b"qSupported:multiprocess+;swbreak+;hwbreak+")
    assert session.stopped(stop) == told
    assert session.handle(b"?") == told
    assert session.handle(b"qC") == b"QC%d" % (stop.vcpu + 1)


def test_a_debugger_that_does_not_know_breakpoint_reasons_is_not_told() -> None:
    stop = Stop(GdbSignal.TRAP, 0, Point(Kind.SOFTWARE, 0x1000))
    assert Session(FakeDebuggee()).stopped(stop) == b"T05thread:1;"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("exits", "exits                            7\n"),
        ("translate 0x1004", "0x1004: physical 0x1004\n"),
        ("translate 4", "0x4: not mapped\n"),
        ("translate nowhere", "nowhere: not an address\n"),
        ("translate -5", "-5: not an address\n"),
    ],
)
def test_monitor_commands(command: str, shown: str) -> None:
    answer = Session(FakeDebuggee()).handle(b"qRcmd," + command.encode().hex().encode())
    assert isinstance(answer, bytes)
    assert bytes.fromhex(answer.decode()).decode() == shown


@pytest.mark.parametrize("command", [b"", b"help", b"\xff\x00", b"exits now"])
def test_other_monitor_commands_show_what_there_is(command: bytes) -> None:
    answer = Session(FakeDebuggee()).handle(b"qRcmd," + command.hex().encode())
    assert isinstance(answer, bytes)
    assert b"translate ADDR" in bytes.fromhex(answer.decode())


def test_monitor_regs_shows_hidden_parts() -> None:
    answer = Session(FakeDebuggee()).handle(b"qRcmd," + b"regs".hex().encode())
    assert isinstance(answer, bytes)
    shown = bytes.fromhex(answer.decode())
    assert b"rip=0x1000" in shown
    assert b"cs: base=0x0 limit=0xffff" in shown


def test_no_packet_raises() -> None:
    """Packets of the table, changed at random, and bytes of no meaning."""
    chance, it = random.Random(1), FakeDebuggee()
    session = Session(it)
    words = [packet for packet, _ in ANSWERS]
    for _ in range(20000):
        packet = bytearray(chance.choice(words))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(packet) + 1)
            packet[at : at + chance.randrange(3)] = bytes(chance.choices(b"0,:;=-fzsc\x00\xff", k=chance.randrange(3)))
        answer = session.handle(bytes(packet))
        assert isinstance(answer, bytes | Resume | Leave)
        if isinstance(answer, Resume):
            assert answer.steps | answer.runs
            assert answer.steps | answer.runs <= BOTH
    assert len(it.memory) == SIZE
