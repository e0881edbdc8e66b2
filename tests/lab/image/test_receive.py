"""What comes through a serial line may be anything."""

from __future__ import annotations

import gzip
import io
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtproof.cli.app import run
from virtproof.lab import frames
from virtproof.lab.frames import Kind, Sender
from virtproof.lab.image import receive as module
from virtproof.lab.image.receive import receive
from virtproof.spec.fault import Fault

BIG = os.urandom(3 * frames.PAYLOAD)  # does not compress: more than one frame


def stream(*messages: tuple[Kind, bytes]) -> bytes:
    out = io.BytesIO()
    sender = Sender(out.write)
    for kind, payload in messages:
        sender.send(kind, payload)
    return out.getvalue()


def file(name: str, content: bytes) -> tuple[Kind, bytes]:
    return Kind.FILE, name.encode() + b"\0" + content


END = (Kind.END, b"")
WHOLE = stream(
    file("run.json.gz", gzip.compress(b"{}")),
    file("evidence.json.gz", b"stays as it is"),
    file("report.html.gz", gzip.compress(BIG)),
    END,
)


@pytest.mark.parametrize("step", [1000, 1 << 16])
def test_files_come_out_of_a_console_log(step):
    source = io.BytesIO(b"[    0.0] Linux\r\nlogin: \xf5" + WHOLE + b"\r\npower down")
    files = receive(lambda size: source.read(min(size, step)), "the line")
    assert files == {"run.json": b"{}", "evidence.json.gz": b"stays as it is", "report.html": BIG}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ended before the results did"),
        (WHOLE[:-1], r"ended before the results did \(3 files\)"),
        (WHOLE[:40] + b"[ 12.3] eth0: link up\r\n" + WHOLE[40:], "checksum"),
        (stream(file("../x.gz", gzip.compress(b"")), END), "no name of a result"),
        (stream(file("x", b""), END), "no name of a result"),
        (stream(file("\udcff.gz".encode("utf-8", "surrogateescape").decode("latin-1"), b""), END), "no name"),
        (stream(file("a.gz", b"no gzip"), END), "a.gz: "),
        (stream(file("a.gz", gzip.compress(b"12345")[:-4]), END), "cut off"),
        (stream((Kind.MORE, b"x"), END), "kind MORE makes no sense"),
        (stream((Kind.STDOUT, b"x"), END), "kind STDOUT makes no sense"),
    ],
)
def test_what_is_not_whole_is_refused_with_what_to_do(data, says):
    with pytest.raises(Fault, match=says) as fault:
        receive(io.BytesIO(data).read, "the line")
    assert "boot the image again" in fault.value.remedy


def test_files_that_grow_without_end_are_stopped(monkeypatch):
    monkeypatch.setattr(module, "TOTAL", 1000)
    bombs = [file(f"{n}.gz", gzip.compress(bytes(600))) for n in range(2)]
    with pytest.raises(Fault, match="is more than"):
        receive(io.BytesIO(stream(*bombs, END)).read, "the line")


@given(st.integers(0, 400), st.binary(max_size=8))
def test_damage_is_noticed_or_did_not_matter(at, damage):
    head = stream(file("run.json.gz", gzip.compress(b"{}")), file("evidence.json.gz", b"e" * 300), END)
    data = head[:at] + damage + head[at + len(damage) :]
    try:
        assert receive(io.BytesIO(data).read, "x") == {"run.json": b"{}", "evidence.json.gz": b"e" * 300}
    except Fault:
        assert data != head


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=40))))
def test_frames_of_a_hostile_host(messages):
    with suppress(Fault):
        receive(io.BytesIO(stream(*messages)).read, "x")


def test_the_command_writes_what_it_received(tmp_path, capsys):
    (tmp_path / "log").write_bytes(WHOLE)
    assert run(["image", "receive", "-o", str(tmp_path / "out"), str(tmp_path / "log")]) == 0
    assert (tmp_path / "out/report.html").read_bytes() == BIG
    assert str(tmp_path / "out/run.json") in capsys.readouterr().out


def test_the_command_names_a_port_that_is_not_there(tmp_path, capsys):
    assert run(["image", "receive", "-o", str(tmp_path / "out"), str(tmp_path / "ttyUSB0")]) == 4
    assert "ttyUSB0: No such file" in capsys.readouterr().err
