"""Puts a system, its devices and the two conversations together: qtest on one socket, QMP on the other.

As QEMU does, the front connects to the sockets that the test listens at, and ends when the test hangs up.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from virtproof.spec.fault import Fault
from virtproof.spec.pci import CONFIG_ADDRESS, CONFIG_DATA
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.port import Port
from virtproof.vmm.qtest import protocol, qmp
from virtproof.vmm.qtest.arguments import Arguments
from virtproof.vmm.qtest.devices import INNER, MAKERS, Backends
from virtproof.vmm.qtest.framed import FramedPort
from virtproof.vmm.qtest.system import System

CHUNK = 1 << 16
NULL_DISK = 1 << 30  # bytes, as QEMU's null-co
SECOND = 1_000_000_000


class Front:
    """One run: ``serve`` until the test ends it."""

    def __init__(self, arguments: Arguments) -> None:
        self.running, self._over = True, False
        self._stack = ExitStack()
        with ExitStack() as stack:
            self.system = System(arguments.ram)
            stack.callback(self.system.close)
            self._intercepted, self._config_offset = False, 0
            self.system.interrupts.changed = self._line
            self._add(arguments, stack)
            self._commands = protocol.Commands(self)
            self._qtest: Conversation | None = None
            if arguments.qtest:
                self._qtest = self._converse(arguments.qtest, self._command, protocol.LINE, stack)
            if arguments.qmp:
                self._start_qmp(arguments.qmp, stack)
            self._stack = stack.pop_all()

    def serve(self) -> None:
        """Answer until nobody asks any more."""
        while not self._over and self.system.events.reading:
            self.system.events.poll(SECOND)

    def close(self) -> None:
        self._stack.close()

    # What qtest's commands act on.

    def read(self, address: int, length: int) -> bytes:
        return self.system.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        self.system.write(address, data)

    def pio_in(self, port: int, size: int) -> int:
        return self.system.bus.pio_in(self._shifted(port), size)

    def pio_out(self, port: int, size: int, value: int) -> None:
        if port == CONFIG_ADDRESS and size == 4:
            self._config_offset = value & 3
        self.system.bus.pio_out(self._shifted(port), size, value)

    def _shifted(self, port: int) -> int:
        """libqos counts on QEMU's keeping bits 1:0 of CF8H, and reads any byte of configuration space at CFCH."""
        return port | self._config_offset if port == CONFIG_DATA else port

    def step(self, ns: int | None) -> int:
        self.system.step(ns)
        return self.system.clock.now()

    def set_clock(self, ns: int) -> int:
        self.system.step(max(0, ns - self.system.clock.now()))
        return self.system.clock.now()

    def intercept(self) -> None:
        self._intercepted = True

    # What QMP's commands act on.

    def system_reset(self) -> None:
        self.system.reset()

    def quit(self) -> None:
        self._over = True

    def _add(self, arguments: Arguments, stack: ExitStack) -> None:
        backends = Backends(self.system.after)
        for drive in arguments.drives:
            backends.disks[drive.get("id", drive.get("node-name", ""))] = disk = _disk(drive)
            stack.callback(disk.close)
        for netdev in arguments.netdevs:
            backends.ports[netdev.get("id", "")] = self._port(netdev, stack)
        for device in arguments.devices:
            if device.get("driver") in ("scsi-hd", "scsi-cd"):
                backends.plug(device["driver"], device)
        for device in arguments.devices:
            name = device.get("driver", "")
            if name in MAKERS:
                slot, number = _place(device.get("addr"))
                self.system.board.add(MAKERS[name](device, backends), slot=slot, number=number)
            elif name not in INNER:
                raise Fault(f"make the device '{name}'", "there is no model of it", f"there are: {', '.join(MAKERS)}")

    def _port(self, netdev: Mapping[str, str], stack: ExitStack) -> Port:
        match netdev.get("type"):
            case "socket" if netdev.get("fd", "").isdecimal():
                port = FramedPort(socket.socket(fileno=int(netdev["fd"])), self.system.events, self.system.after)
                stack.callback(port.close)
                return port
            case "hubport" | "user":
                return Loopback(self.system.after)
            case other:
                raise Fault(f"make the netdev '{other}'", "there is no such back end", "use socket,fd=N or hubport")

    def _line(self, gsi: int, level: bool) -> None:
        if self._intercepted and self._qtest is not None:
            self._qtest.send(f"IRQ {'raise' if level else 'lower'} {gsi}\n".encode("ascii"))

    def _command(self, line: bytes) -> None:
        answer = self._commands.answer(line.decode("ascii", "replace"))
        self.system.settle()
        assert self._qtest is not None
        self._qtest.send(answer.encode("ascii", "replace") + b"\n")

    def _start_qmp(self, path: str, stack: ExitStack) -> None:
        def send(message: Mapping[str, Any]) -> None:
            talk.send(json.dumps(message).encode() + b"\r\n")

        answers = qmp.Qmp(self, send)
        talk = self._converse(f"unix:{path}", answers.take, qmp.LIMIT, stack)
        send(qmp.GREETING)

    def _converse(self, where: str, take: Callable[[bytes], None], limit: int, stack: ExitStack) -> Conversation:
        if where == "stdio":
            talk = Conversation(sys.stdin.fileno(), sys.stdout.fileno(), take, limit, self.quit)
        elif where.startswith("unix:"):
            end = socket.socket(socket.AF_UNIX)
            stack.callback(end.close)
            try:
                end.connect(where.removeprefix("unix:"))
            except OSError as error:
                raise Fault(f"connect to {where}", error.strerror or str(error), "start the test first") from error
            talk = Conversation(end.fileno(), end.fileno(), take, limit, self.quit)
        else:
            raise Fault(f"open {where}", "it is neither stdio nor unix:PATH", "use one of these")
        self.system.events.add_reader(talk.source, talk.read)
        stack.callback(self.system.events.remove_reader, talk.source)
        return talk


class Conversation:
    """Lines that come in, and bytes that go out; ``ended`` is called when the other end hangs up."""

    def __init__(
        self, source: int, sink: int, take: Callable[[bytes], None], limit: int, ended: Callable[[], None]
    ) -> None:
        self.source = source
        self._sink, self._take, self._limit, self._ended = sink, take, limit, ended
        self._waiting = bytearray()

    def read(self) -> None:
        try:
            data = os.read(self.source, CHUNK)
        except OSError:
            data = b""
        if not data:
            self._ended()
            return
        self._waiting += data
        while (end := self._waiting.find(b"\n")) >= 0:
            line = bytes(self._waiting[:end])
            del self._waiting[: end + 1]
            if line.strip():
                self._take(line)
        if len(self._waiting) > self._limit:  # nobody who speaks the protocol does this
            self._ended()

    def send(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._sink, data) :]
        except OSError:
            self._ended()


def _disk(drive: Mapping[str, str]) -> Any:
    from pathlib import Path  # noqa: PLC0415

    from virtproof.vmm.disks.disk import SECTOR  # noqa: PLC0415
    from virtproof.vmm.disks.file import FileDisk  # noqa: PLC0415

    name = drive.get("file", drive.get("file.filename", ""))
    if name.endswith("null-co://"):  # with blkdebug in front of it too
        return FileDisk.in_memory(sectors=NULL_DISK // SECTOR)
    return FileDisk.open(Path(name), read_only=drive.get("readonly", drive.get("read-only")) == "on")


def _place(text: str | None) -> tuple[int | None, int]:
    """Slot and function of ``addr=``, which is hexadecimal.  Raises Fault."""
    if text is None:
        return None, 0
    slot, _, number = text.partition(".")
    try:
        return int(slot, 16), int(number or "0", 16)
    except ValueError:
        raise Fault(f"read addr={text}", "it is not a slot", "write it as 04.0") from None
