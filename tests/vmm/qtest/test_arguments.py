"""QEMU's command line, as far as it is understood."""

from __future__ import annotations

import pytest

from virtproof.spec.fault import Fault
from virtproof.vmm.qtest.arguments import MIB, options, parse, size

LINE = (
    "-qtest unix:/tmp/q.sock -qtest-log /dev/null -chardev socket,path=/tmp/q.qmp,id=char0 "
    "-mon chardev=char0,mode=control -display none -M pc -device vmxnet3,addr=04.0,netdev=hs0 "
    "-netdev hubport,hubid=0,id=hs0 -drive if=none,id=d0,file=null-co://,format=raw -m 64 -nodefaults -accel qtest"
)
BAD = (["-bogus", "1"], ["-device"], ["-m", "0"], ["-m", "x"], ["-m", "99999999G"], ["kernel"])


def test_what_libqtest_says_is_understood() -> None:
    found = parse(LINE.split())
    assert (found.qtest, found.qmp, found.machine, found.ram) == ("unix:/tmp/q.sock", "/tmp/q.qmp", "pc", 64 * MIB)
    assert found.devices == [{"driver": "vmxnet3", "addr": "04.0", "netdev": "hs0"}]
    assert found.netdevs == [{"type": "hubport", "hubid": "0", "id": "hs0"}]
    assert found.drives == [{"if": "none", "id": "d0", "file": "null-co://", "format": "raw"}]


def test_a_block_device_is_a_drive_by_its_node() -> None:
    (drive,) = parse(["-blockdev", "driver=null-co,read-zeroes=on,node-name=null0"]).drives
    assert (drive["file"], drive["id"]) == ("null-co://", "null0")


def test_two_commas_are_one() -> None:
    assert options("a,,b,c=d,,e,f", "first") == {"first": "a,b", "c": "d,e", "f": "on"}


@pytest.mark.parametrize(("text", "found"), [("1", MIB), ("512K", 512 << 10), ("2G", 2 << 30), ("3m", 3 * MIB)])
def test_sizes(text: str, found: int) -> None:
    assert size(text) == found


@pytest.mark.parametrize(
    "words", [["-bogus", "1"], ["-device"], ["-m", "0"], ["-m", "x"], ["-m", "99999999G"], ["kernel"]]
)
def test_what_is_not_understood_is_named(words: list[str]) -> None:
    with pytest.raises(Fault, match=words[0] if words[0] != "-m" else "size"):
        parse(words)
