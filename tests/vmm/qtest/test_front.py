"""The front as a test sees it: a process that connects to two sockets, and QEMU's own tests where they were built."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from virtproof.cli.app import run
from virtproof.spec import fusion_mpt as mpt
from virtproof.vmm.qtest.devices import MAKERS

QOS_TEST = os.environ.get("VIRTPROOF_QOS_TEST", "")
NO_QOS_TEST = "VIRTPROOF_QOS_TEST does not name QEMU's qos-test; docs/qtest.md tells how to build it"
# What QEMU 7.2's tests ask beyond the devices: docs/qtest.md has the reasons.
NOT_OFFERED = (
    "hotplug",
    "announce-self",
    "blk-pci-tests/msix",
    "blk-tests/config",
    "resize",
    "write-to-cdrom",
    "serialport-nop",
)


class Peer:
    """The test's end."""

    def __init__(self, tmp_path: Path, *arguments: str) -> None:
        paths = tmp_path / "qtest", tmp_path / "qmp"
        listeners = []
        for path in paths:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(60)
            listeners.append(listener)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "virtproof", "qtest", "-qtest", f"unix:{paths[0]}", "-accel", "qtest",
                "-chardev", f"socket,path={paths[1]},id=c", "-mon", "chardev=c,mode=control", *arguments,
            ]
        )  # fmt: skip
        self._ends = [listener.accept()[0] for listener in listeners]
        for listener in listeners:
            listener.close()
        self._files = [end.makefile("rwb", buffering=0) for end in self._ends]

    def ask(self, line: str) -> str:
        self._files[0].write(line.encode() + b"\n")
        return self.line()

    def line(self) -> str:
        return self._files[0].readline().decode().strip()

    def qmp(self, **command: Any) -> Any:
        self._files[1].write(json.dumps(command).encode() + b"\n")
        return self.message()

    def message(self) -> Any:
        return json.loads(self._files[1].readline())

    def hang_up(self) -> int:
        for each in (*self._files, *self._ends):
            each.close()
        return self.process.wait(60)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def start(*arguments: str) -> Peer:
        peers.append(Peer(tmp_path, *arguments))
        return peers[-1]

    yield start
    for peer in peers:
        peer.process.kill()
        peer.hang_up()


def test_a_device_is_found_where_it_was_put(started: Callable[..., Peer]) -> None:
    peer = started("-device", "vmxnet3,addr=04.0")
    assert peer.ask("outl 0xcf8 0x80002000") == "OK"
    assert peer.ask("inl 0xcfc") == "OK 0x7b015ad"
    assert peer.ask("outl 0xcf8 0x80002002") == "OK"
    assert peer.ask("inw 0xcfc") == "OK 0x07b0"
    assert peer.ask("bogus").startswith("FAIL")
    assert peer.hang_up() == 0


@pytest.mark.parametrize(
    ("name", "identity", "product"), [("mptsas1068", 0x00541000, 0x2102), ("lsi53c1030", 0x00301000, 0x0104)]
)
def test_a_fusion_mpt_controller_answers_by_its_doorbell(
    started: Callable[..., Peer], name: str, identity: int, product: int
) -> None:
    disk = ("-drive", "file=null-co://,id=d", "-device", "scsi-hd,drive=d")
    peer = started("-device", f"{name},addr=04.0", *disk)

    def put(port: int, value: int) -> None:
        assert peer.ask(f"outl {port:#x} {value:#x}") == "OK"

    def get(port: int) -> int:
        return int(peer.ask(f"inl {port:#x}").removeprefix("OK "), 0)

    put(0xCF8, 0x80002000)
    assert get(0xCFC) == identity
    for offset, value in ((0x10, 0xC000), (0x04, 1)):  # BAR 0, and I/O space
        put(0xCF8, 0x80002000 | offset)
        put(0xCFC, value)
    doorbell, status = 0xC000 + mpt.DOORBELL, 0xC000 + mpt.HOST_INTERRUPT_STATUS
    put(doorbell, mpt.Function.HANDSHAKE << 24 | 3 << 16)
    put(status, 0)
    for word in (mpt.Function.IOC_FACTS << 24, 0, 0x0A0B0C0D):
        put(doorbell, word)
    reply = b""
    while len(reply) < 4 or len(reply) < 4 * reply[2]:
        assert get(status) & 1
        reply += (get(doorbell) & 0xFFFF).to_bytes(2, "little")
        put(status, 0)
    facts = mpt.IOC_FACTS_REPLY.unpack(reply)
    assert 0x0A0B0C0D in facts
    assert product in facts


def test_an_intercepted_line_is_told_of(started: Callable[..., Peer]) -> None:
    peer = started()
    assert peer.ask("irq_intercept_in ioapic") == "OK"
    for line in ("outb 0x70 0x0b", "outb 0x71 0x42", "outb 0x70 0x0c"):
        assert peer.ask(line) == "OK"
    peer._files[0].write(b"clock_step 1000000\n")
    assert [peer.line(), peer.line()] == ["IRQ raise 8", "OK 1000000"]
    assert peer.ask("inb 0x71") == "IRQ lower 8"
    assert peer.line() == "OK 0x00c0"


def test_qmp_tells_of_machines_types_and_resets(started: Callable[..., Peer]) -> None:
    peer = started()
    assert "QMP" in peer.message()
    assert peer.qmp(execute="qmp_capabilities", id=7) == {"return": {}, "id": 7}
    assert peer.qmp(execute="query-machines")["return"][0]["alias"] == "pc"
    names = {row["name"] for row in peer.qmp(execute="qom-list-types", arguments={"implements": "device"})["return"]}
    assert set(MAKERS) <= names
    assert peer.qmp(execute="stop")["event"] == "STOP"
    assert peer.message() == {"return": {}}
    assert peer.qmp(execute="system_reset")["event"] == "RESET"
    assert peer.message() == {"return": {}}
    assert peer.qmp(execute="block_resize")["error"]["class"] == "CommandNotFound"
    assert peer.qmp(nothing=1)["error"]["class"] == "GenericError"
    peer._files[1].write(b"{{{\n")
    assert peer.message()["error"]["class"] == "GenericError"


def test_sigterm_is_a_good_end(started: Callable[..., Peer]) -> None:
    peer = started()
    assert peer.ask("endianness") == "OK little"
    peer.process.send_signal(signal.SIGTERM)
    assert peer.process.wait(60) == 0


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_not_an_option_of_qemus(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["qtest", word]) == 0
    assert "Speak QEMU's qtest protocol" in capsys.readouterr().out


def test_an_unknown_device_is_named() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "virtproof", "qtest", "-device", "ne2k_pci"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 4
    assert "ne2k_pci" in ran.stderr


@pytest.mark.skipif(not QOS_TEST, reason=NO_QOS_TEST)
def test_qemus_own_tests_pass(tmp_path: Path) -> None:
    program = tmp_path / "virtproof-system-x86_64"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m virtproof qtest "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"QTEST_QEMU_BINARY": str(program)}
    listed = subprocess.run([QOS_TEST, "-l"], env=environment, capture_output=True, text=True, check=True).stdout
    tests = [line for line in listed.splitlines() if line.startswith("/x86_64/")]
    ours = [test for test in tests if not any(name in test for name in NOT_OFFERED)]
    assert len(ours) >= 20
    for test in ours:
        ran = subprocess.run(
            [QOS_TEST, "-p", test], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, f"{test}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
