"""Results leave the image: to a real server, through a real terminal device."""

from __future__ import annotations

import os
import socket
import ssl
import termios
import threading
from pathlib import Path

import pytest
import trustme

from virtproof.lab.image import deliver
from virtproof.lab.image.receive import receive
from virtproof.spec.fault import Fault

FILES = {"run.json": b'{"a": 1}\n', "evidence.json.gz": bytes(range(256)), "report.html": bytes(range(256)) * 1000}


@pytest.mark.parametrize("slash", ["", "/"])
def test_put_appends_the_names(server, slash):
    deliver.put(f"http://127.0.0.1:{server.port}/rack 7".replace(" ", "%20") + slash, FILES)
    assert server.taken == {f"/rack%207/{name}": data for name, data in FILES.items()}


def test_a_server_that_refuses_is_quoted(server):
    server.status = 507
    with pytest.raises(Fault, match=r"PUT http://127\.0\.0\.1:\d+/run\.json: HTTP status 507 Insufficient Storage"):
        deliver.put(f"http://127.0.0.1:{server.port}", FILES)


def test_nobody_at_the_address(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # not listening
        with pytest.raises(Fault, match="Connection refused"):
            deliver.put(f"http://127.0.0.1:{free.getsockname()[1]}", FILES)


def test_a_server_that_nobody_trusts(server):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    with pytest.raises(Fault, match="certificate verify failed"):
        deliver.put(f"https://127.0.0.1:{server.port}", FILES)
    assert server.taken == {}


@pytest.mark.parametrize("address", ["http://", "http://h:port/", "http://[::", "http://a b/"])
def test_an_address_that_is_none(address):
    with pytest.raises(Fault, match="PUT http://"):
        deliver.put(address, FILES)


def test_what_is_streamed_is_received():
    here, there = os.openpty()
    received: dict[str, bytes] = {}

    def take() -> None:
        received.update(receive(lambda size: os.read(here, size), "the terminal"))

    reader = threading.Thread(target=take)
    reader.start()
    before = termios.tcgetattr(there)
    try:
        deliver.stream(Path(os.ttyname(there)), FILES)
        reader.join(60)
        assert termios.tcgetattr(there) == before, "a console must be left as it was"
    finally:
        os.close(here)
        os.close(there)
    assert received == FILES


def test_a_port_that_is_no_terminal(tmp_path):
    (tmp_path / "port").touch()
    for name in ("port", "gone"):
        with pytest.raises(Fault, match=f"send to .*/{name}: "):
            deliver.stream(tmp_path / name, FILES)


class Tools:
    """Stands for findfs, mount and umount: the partition is a folder."""

    def __init__(self, monkeypatch, folder: Path) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.device, self.file_system, self.unmounts = "/dev/sdb1\n", "vfat", True
        monkeypatch.setattr(deliver, "MOUNT", folder)
        monkeypatch.setattr(deliver, "_run", self.run)

    def run(self, *command: str):
        self.calls.append(command)
        match command:
            case ("findfs", _):
                return deliver.subprocess.CompletedProcess(command, not self.device, self.device, "")
            case ("mount", "-t", kind, *_):
                return deliver.subprocess.CompletedProcess(command, kind != self.file_system, "", "")
        return deliver.subprocess.CompletedProcess(command, not self.unmounts, "", "busy")


@pytest.fixture
def tools(monkeypatch, tmp_path):
    return Tools(monkeypatch, tmp_path)


@pytest.mark.parametrize("kind", deliver.FILE_SYSTEMS)
def test_a_partition_is_mounted_written_and_unmounted(tools, tmp_path, kind):
    tools.file_system = kind
    deliver.store("RESULTS", "rack7/host-3", FILES)
    assert {path.name: path.read_bytes() for path in (tmp_path / "rack7/host-3").iterdir()} == FILES
    assert tools.calls[0] == ("findfs", "LABEL=RESULTS")
    assert tools.calls[-2:] == [("mount", "-t", kind, "/dev/sdb1", str(tmp_path)), ("umount", str(tmp_path))]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("device", "", "no disk has such a partition"),
        ("file_system", "ntfs", "/dev/sdb1 has no file system of ext4 or vfat"),
        ("unmounts", False, "busy"),
    ],
)
def test_a_partition_that_cannot_be_written(tools, field, value, says):
    setattr(tools, field, value)
    with pytest.raises(Fault, match=f"partition with the label RESULTS: {says}"):
        deliver.store("RESULTS", "x", FILES)


def test_a_partition_without_room_is_unmounted(tools, tmp_path):
    (tmp_path / "x").write_bytes(b"in the way")
    with pytest.raises(Fault, match="partition with the label RESULTS"):
        deliver.store("RESULTS", "x", FILES)
    assert tools.calls[-1][0] == "umount"
