"""A guest's output and a reader who does not read, or leaves."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from virtproof.cli import output
from virtproof.cli.output import Output

FLOOD = bytes.fromhex("ba f8 03  b0 41  ee  eb fd")  # mov dx, 3F8H; mov al, 'A'; out dx, al; jmp back
SECONDS = 60.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


def rest(fd: int) -> bytes:
    read = b""
    while select.select([fd], [], [], 0)[0] and (piece := os.read(fd, 1 << 20)):
        read += piece
    return read


def test_everything_reaches_a_reader(pipe: tuple[int, int]) -> None:
    sink = Output(pipe[1])
    for byte in range(256):
        sink.put(byte)
    assert sink.close() == 0
    assert rest(pipe[0]) == bytes(range(256))
    os.close(pipe[1])


def test_a_stream_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    sink = Output(pipe[1])
    size = 1 << 18
    for n in range(size):
        sink.put(n & 0xFF)
    read = b""
    while len(read) < size:
        read += os.read(pipe[0], 1 << 16)
    assert read == bytes(range(256)) * (size // 256)
    assert sink.close() == 0
    os.close(pipe[1])


def test_what_nobody_reads_is_bounded_and_counted(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LIMIT", 1000)
    sink, sent = Output(pipe[1], linger=0.01), 200_000
    for _ in range(sent):
        sink.put(0x41)
    lost = sink.close()
    read = rest(pipe[0])
    assert 0 < lost < sent
    assert set(read) == {0x41}
    assert len(read) >= sent - lost  # a piece is in the thread's hands, and may yet arrive


def test_a_reader_that_leaves_is_noticed() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    sink = Output(theirs)
    sink.put(0x41)
    assert select.select([sink.trouble], [], [], SECONDS)[0]
    with pytest.raises(BrokenPipeError):
        sink.check()
    with pytest.raises(BrokenPipeError):
        sink.put(0x41)
    assert sink.close() == 0
    os.close(theirs)


def test_the_timeout_ends_a_guest_whose_output_nobody_reads(pipe: tuple[int, int], tmp_path: Path) -> None:
    os.set_blocking(pipe[1], False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe[1], bytes(4096))
    os.set_blocking(pipe[1], True)
    (tmp_path / "flood").write_bytes(FLOOD)
    command = (sys.executable, "-m", "virtproof", "guest", str(tmp_path / "flood"), "--format", "flat")
    with subprocess.Popen(
        [*command, "--engine", "software", "--timeout", "3"], stdout=pipe[1], stderr=subprocess.PIPE
    ) as process:
        os.close(pipe[1])
        try:
            assert process.wait(SECONDS) == 124
        finally:
            process.kill()
        assert process.stderr is not None
        assert b"bytes of the guest's output are lost" in process.stderr.read()
