"""Guests under a debugger: it comes, stops them, leaves, vanishes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.vmm.gdb.client import Client, Debugs
from tests.vmm.guests import CODE, SECONDS, machine
from virtproof.vmm import exits, modes
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.gdb.connection import Listener
from virtproof.vmm.gdb.debuggee import Killed
from virtproof.vmm.gdb.debugger import Debugger
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

pytestmark = pytest.mark.kvm

PORT, FLAG = 0x510, 0x9000
NOP, HLT, UD2, SPIN = b"\x90", b"\xf4", b"\x0f\x0b", b"\xeb\xfe"
OUT_FOREVER = b"\xee\xeb\xfd"

Ended = exits.Exit | exits.Timeout | Killed


class Stopper:
    """A device that ends the machine with the status that is written to it."""

    def __init__(self, it: Machine) -> None:
        self.machine, self.status = it, None

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.status = value  # type: ignore[assignment]
        self.machine.stop()


@pytest.fixture(params=[1, 2], ids=["1 vCPU", "2 vCPUs"])
def debug(engine: KvmEngine, request: pytest.FixtureRequest) -> Callable[..., Ended]:
    def debug(code: bytes, script: Callable[[str], None], *, seconds: float = SECONDS, address: str = "0") -> Ended:
        with (
            machine(engine, modes.prot32, code, vcpus=request.param) as it,
            Listener(address) as listener,
            Debugs(script, listener),
        ):
            for index, vcpu in enumerate(it.vcpus):
                vcpu.set_special_registers(modes.prot32(vcpu.special_registers()))
                vcpu.set_registers(Registers(rip=CODE if index == 0 else CODE + 0x100, rdx=PORT))
            it.memory.load(CODE + 0x100, SPIN)
            stopper = Stopper(it)
            it.bus.add_ports(PORT, 1, stopper, "stopper", width=1)
            with Debugger(it, listener, status=lambda: stopper.status) as debugger:
                return debugger.run(seconds)

    return debug


def test_a_guest_waits_at_its_first_instruction_and_is_stopped_again(debug: Callable[..., Ended]) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            assert client.ask(b"?") == b"T05thread:1;"
            assert client.ask(b"p10") == CODE.to_bytes(8, "little").hex().encode()
            for _ in range(3):
                client.send(b"$vCont;c#a8")
                client.send(b"\x03")
                assert client.told() == b"T02thread:1;"
            assert client.ask(b"p10") == CODE.to_bytes(8, "little").hex().encode()
            client.ask(b"vKill;1")

    assert debug(SPIN, script) == Killed()


def test_a_breakpoint_and_steps(debug: Callable[..., Ended]) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            assert client.ask(b"Z0,%x,1" % (CODE + 2)) == b"OK"
            assert client.ask(b"vCont;c") == b"T05thread:1;swbreak:;"
            assert client.ask(b"m%x,1" % (CODE + 2)) == b"90"
            assert client.ask(b"z0,%x,1" % (CODE + 2)) == b"OK"
            assert client.ask(b"vCont;s:1") == b"T05thread:1;"
            assert client.ask(b"vCont;s:1;c") == b"T05thread:1;"
            assert client.ask(b"p10") == (CODE + 4).to_bytes(8, "little").hex().encode()
            assert client.ask(b"c") == b"W2a"

    assert debug(NOP * 4 + b"\xb0\x2a\xee" + SPIN, script) == exits.Interrupted()


@pytest.mark.parametrize("how", ["D", "closes", "closes while the guest runs", "talks HTTP"])
def test_a_debugger_that_goes_takes_its_breakpoints_with_it(debug: Callable[..., Ended], how: str) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            assert client.ask(b"Z0,%x,1" % (CODE + 2)) == b"OK"
            assert client.ask(b"Z1,%x,1" % (CODE + 3)) == b"OK"
            match how:
                case "D":
                    assert client.ask(b"D") == b"OK"
                case "closes while the guest runs":
                    assert client.ask(b"z0,%x,1" % (CODE + 2)) == b"OK"
                    assert client.ask(b"z1,%x,1" % (CODE + 3)) == b"OK"
                    assert client.ask(b"Z0,%x,1" % (CODE + 0x200)) == b"OK"
                    client.send(b"$c#63")
                case "talks HTTP":
                    client.send(b"GET / HTTP/1.1\r\n\r\n")
        with closing(Client(address)) as other:  # who finds it running, and stops it
            assert other.ask(b"?") == b"T02thread:1;"
            assert other.ask(b"M%x,1:01" % FLAG) == b"OK"
            assert other.ask(b"c") == b"W07"

    wait = b"\x80\x3d" + FLAG.to_bytes(4, "little") + b"\0\x74\xf7"  # cmpb $0, flag; je to it
    assert debug(NOP * 4 + wait + b"\xb0\x07\xee" + SPIN, script) == exits.Interrupted()


def test_a_guest_that_dies_can_be_looked_at(debug: Callable[..., Ended]) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            text = client.ask(b"vCont;c")
            assert text.startswith(b"O")
            assert b"triple fault" in bytes.fromhex(text[1:].decode())
            assert client.told() == b"T0bthread:1;"
            assert client.ask(b"m%x,2" % CODE) == b"900f"
            assert client.ask(b"vCont;c") == b"X0b"

    assert debug(NOP + UD2, script) == exits.Shutdown()


def test_time_passes_while_the_guest_runs(debug: Callable[..., Ended]) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            assert client.ask(b"vCont;c") == b"X0f"

    assert debug(SPIN, script, seconds=0.05) == exits.Timeout(0.05)


def test_a_unix_socket_serves_as_well(debug: Callable[..., Ended], tmp_path: Path) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            assert client.ask(b"k") == b"OK"

    assert debug(SPIN, script, address=str(tmp_path / "debug")) == Killed()


def test_packets_that_come_too_early_are_answered_after_the_stop(debug: Callable[..., Ended]) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            client.send(b"$c#63$qC#b4\x03")
            assert client.told() == b"T02thread:1;"
            assert client.told() == b"QC1"
            client.ask(b"k")

    assert debug(OUT_FOREVER.replace(b"\xee", NOP), script) == Killed()


def test_a_breakpoint_of_the_second_vcpu_is_told_and_stepped_over_alone(engine: KvmEngine) -> None:
    def script(address: str) -> None:
        with closing(Client(address)) as client:
            assert client.ask(b"Z0,%x,1" % (CODE + 0x102)) == b"OK"
            assert client.ask(b"vCont;c") == b"T05thread:2;swbreak:;"
            assert client.ask(b"z0,%x,1" % (CODE + 0x102)) == b"OK"
            assert client.ask(b"vCont;s:2") == b"T05thread:2;"
            assert client.ask(b"p10") == (CODE + 0x103).to_bytes(8, "little").hex().encode()
            assert client.ask(b"Hg1") == b"OK"
            assert client.ask(b"p10") == CODE.to_bytes(8, "little").hex().encode()
            client.send(b"$vCont;c#a8")
            client.send(b"\x03")
            assert client.told().startswith(b"T02thread:")
            client.ask(b"k")

    with (
        machine(engine, modes.prot32, SPIN, vcpus=2) as it,
        Listener("0") as listener,
        Debugs(script, listener),
        Debugger(it, listener) as debugger,
    ):
        it.memory.load(CODE + 0x100, NOP * 4 + SPIN)
        for index, vcpu in enumerate(it.vcpus):
            vcpu.set_special_registers(modes.prot32(vcpu.special_registers()))
            vcpu.set_registers(Registers(rip=CODE + 0x100 * index))
        assert debugger.run(SECONDS) == Killed()
