"""Capture files, as scapy reads them."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from tests.vmm.network.conftest import Adapter, Bench, frame
from virtproof.spec.fault import Fault
from virtproof.vmm.network.loopback import Loopback
from virtproof.vmm.network.port import LONGEST
from virtproof.vmm.network.recorder import Recorder


def read(path: Path) -> list[tuple[float, bytes]]:
    utils = pytest.importorskip("scapy.utils")
    with utils.RawPcapReader(str(path)) as reader:
        assert reader.nano
        assert reader.linktype == 1
        packets = []
        with suppress(EOFError):
            while True:
                data, meta = reader._read_packet(size=LONGEST)
                packets.append((meta.sec + meta.usec / 1e9, data))
        return packets


def test_both_directions_are_written_with_their_times(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "frames.pcap"
    bench.clock.advance(1_700_000_000_250_000_000)
    with Recorder(Loopback(bench.loop.after), path, now=bench.clock.now) as recorder:
        adapter = Adapter(recorder)
        recorder.send(frame(1))
        assert read(path) == [(1_700_000_000.25, frame(1))]
        bench.pass_time(500_000_000)
        recorder.send(frame(2, LONGEST))
        bench.poll()
    assert adapter.received == [frame(1), frame(2, LONGEST)]
    assert [data for _, data in read(path)] == [frame(1), frame(1), frame(2, LONGEST), frame(2, LONGEST)]
    assert [when for when, _ in read(path)][-1] == 1_700_000_000.75
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_frame_that_was_refused_is_written_when_it_is_taken(bench: Bench, tmp_path: Path) -> None:
    with Recorder(Loopback(bench.loop.after), tmp_path / "f", now=bench.clock.now) as recorder:
        adapter = Adapter(recorder, room=0)
        recorder.send(frame())
        bench.poll()
        assert len(read(tmp_path / "f")) == 1
        adapter.room = 1
        recorder.ready()
        bench.poll()
    assert len(read(tmp_path / "f")) == 2


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("elsewhere")])
def test_what_is_there_is_not_touched(bench: Bench, tmp_path: Path, make) -> None:
    make(tmp_path / "frames")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(Fault, match="frames"):
        Recorder(Loopback(bench.loop.after), tmp_path / "frames")
    assert sorted(os.listdir(tmp_path)) == before


def test_the_file_ends_with_a_whole_record(bench: Bench, tmp_path: Path) -> None:
    record = 16 + 60
    with Recorder(Loopback(bench.loop.after), tmp_path / "f", limit=24 + 2 * record + 5) as recorder:
        for n in range(4):
            recorder.send(frame(n))
        assert recorder.missed == 2
    assert [data for _, data in read(tmp_path / "f")] == [frame(0), frame(1)]


def test_a_full_disk_stops_nothing(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    with Recorder(Loopback(bench.loop.after), tmp_path / "f") as recorder:
        adapter = Adapter(recorder)
        recorder.send(frame(0))
        monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:20]))
        recorder.send(frame(1))
        monkeypatch.undo()
        recorder.send(frame(2))
        bench.poll()
        assert [len(adapter.received), recorder.missed] == [3, 2 + 3]  # the rest is no capture any more
    assert [data for _, data in read(tmp_path / "f")] == [frame(0)]


def test_frames_pass_when_the_file_is_closed(bench: Bench, tmp_path: Path) -> None:
    recorder = Recorder(Loopback(bench.loop.after), tmp_path / "f")
    adapter = Adapter(recorder)
    recorder.close()
    recorder.close()
    recorder.send(frame())
    bench.poll()
    assert adapter.received == [frame()]
