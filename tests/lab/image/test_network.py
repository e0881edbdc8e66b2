"""The network of the image, without touching that of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtproof.lab.image import network
from virtproof.spec.fault import Fault


class Machine:
    """Interfaces in a folder, and commands that are recorded."""

    def __init__(self, monkeypatch, folder: Path) -> None:
        self.folder, self.commands, self.said, self.answers = folder, [], [], {"eth1"}
        monkeypatch.setattr(network, "_run", self.run)
        monkeypatch.setattr(network, "address", lambda name: "10.0.0.5/24")
        monkeypatch.setattr(network, "CLASS", folder)
        monkeypatch.setattr(network.interfaces, "__defaults__", ("", "", folder))
        self.add("lo", "772", "00:00:00:00:00:00")
        self.add("eth0", "1", "52:54:00:00:00:0a")
        self.add("eth1", "1", "52:54:00:00:00:0b")

    def add(self, name: str, kind: str, address: str) -> None:
        (self.folder / name).mkdir()
        (self.folder / name / "type").write_text(kind + "\n")
        (self.folder / name / "address").write_text(address + "\n")

    def run(self, *command: str) -> int:
        self.commands.append(" ".join(command))
        return int(command[0] == "udhcpc" and command[2] not in self.answers)

    def up(self, ip: str = "", bootif: str = "") -> None:
        network.up(ip, bootif, self.said.append)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    return Machine(monkeypatch, tmp_path)


@pytest.mark.parametrize("ip", ["", "dhcp", "on"])
def test_every_interface_is_asked_until_one_has_an_address(machine, ip):
    machine.up(ip)
    asked = [line.split()[2] for line in machine.commands if line.startswith("udhcpc")]
    assert asked == ["eth0", "eth1"]
    assert machine.said == ["eth1: 10.0.0.5/24 by DHCP"]
    assert "ip link set eth1 up" in machine.commands


@pytest.mark.parametrize("words", [("dhcp", "01-52-54-00-00-00-0B"), ("eth1:dhcp", ""), (":::::eth1:dhcp", "")])
def test_the_interface_that_is_named_is_the_only_one(machine, words):
    machine.up(*words)
    assert not any("eth0" in line for line in machine.commands)
    assert machine.said == ["eth1: 10.0.0.5/24 by DHCP"]


def test_nobody_answers(machine):
    machine.answers.clear()
    with pytest.raises(Fault, match="no answer by DHCP on eth0, eth1"):
        machine.up()


@pytest.mark.parametrize(
    ("words", "saw"),
    [(("eth7:dhcp", ""), "no such interface: eth7"), (("", "01-aa-aa-aa-aa-aa-aa"), "no such interface: 01-aa")],
)
def test_an_interface_that_is_not_there(machine, words, saw):
    with pytest.raises(Fault, match=saw):
        machine.up(*words)


def test_no_interface_at_all(machine, tmp_path):
    for name in ("eth0", "eth1"):
        (tmp_path / name / "type").write_text("801\n")
    with pytest.raises(Fault, match="no driver knows this adapter"):
        machine.up()


def test_an_address_of_ones_own(machine, monkeypatch):
    written = {}
    monkeypatch.setattr(Path, "write_text", lambda self, text, **_: written.update({str(self): text}))
    machine.up("10.1.2.3::10.1.0.1:255.255.0.0:host:eth0:off:10.1.0.53:10.1.0.54")
    assert machine.commands[-2:] == [
        "ip addr add 10.1.2.3/16 dev eth0",
        "ip route add default via 10.1.0.1 dev eth0",
    ]
    assert not any("udhcpc" in line for line in machine.commands)
    assert written == {"/etc/resolv.conf": "nameserver 10.1.0.53\nnameserver 10.1.0.54\n"}


@pytest.mark.parametrize("ip", ["nonsense", "10.0.0.300", "10.0.0.1:::255.0.255.0", "10.0.0.1::x"])
def test_an_address_that_is_none(machine, ip):
    with pytest.raises(Fault, match="bring up the network: ip="):
        machine.up(ip)


def test_the_hardware_address_for_names_of_folders(machine):
    assert network.mac() == "52:54:00:00:00:0a"
    assert network.mac("01-52-54-00-00-00-0b") == "52:54:00:00:00:0b"
    assert network.mac("01-aa-aa-aa-aa-aa-aa") == ""
