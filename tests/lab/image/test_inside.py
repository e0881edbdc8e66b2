"""What the image does when it is up, as far as that needs no machine of its own."""

from __future__ import annotations

import os
import subprocess

import pytest

from virtproof.lab.image import deliver, inside, network
from virtproof.lab.image.inside import Consoles
from virtproof.lab.image.parameters import parse
from virtproof.spec.fault import Fault


@pytest.fixture
def consoles():
    return Consoles([])


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with results, an identity and no clock."""
    monkeypatch.setattr(inside, "RESULTS", tmp_path)
    monkeypatch.setattr(inside, "UUID", tmp_path.parent / "uuid")
    (tmp_path.parent / "uuid").write_text("AB-CD\n")
    monkeypatch.setattr(network, "mac", lambda bootif: "52:54:00:00:00:0a")
    monkeypatch.setattr(network, "up", lambda ip, bootif, say: None)
    (tmp_path / "run.json").write_bytes(b"{}")


def test_all_consoles_hear_it_and_a_dead_one_holds_nobody_up(tmp_path):
    here, there = os.openpty()
    try:
        name = os.path.relpath(os.ttyname(there), "/dev")
        consoles = Consoles(["gone", name])
        consoles.say("hello")
        assert os.read(here, 100) == b"virtproof: hello\r\n"
        assert bytes(consoles.said) == b"virtproof: hello\n"
    finally:
        os.close(here)
        os.close(there)


def test_a_console_that_takes_nothing_is_given_up(tmp_path):
    here, there = os.pipe()
    try:
        os.set_blocking(there, False)
        inside._write_patiently(there, bytes(1 << 20), seconds=0)
        inside._write_patiently(there, b"more", seconds=0)
    finally:
        os.close(here)
        os.close(there)


def test_results_and_the_log_go_to_the_address_with_the_names_filled_in(monkeypatch, consoles):
    sent = {}
    monkeypatch.setattr(deliver, "put", lambda address, files: sent.update({address: files}))
    consoles.say("said")
    where = inside.deliver_to(parse("virtproof.out=http://h/{mac}/{uuid}"), consoles)
    assert where == "http://h/52-54-00-00-00-0a/ab-cd"
    assert sent == {where: {"run.json": b"{}", "image.log": b"virtproof: said\n"}}


@pytest.mark.parametrize(
    ("out", "uuid", "place"),
    [
        ("LABEL=R", True, ("R", "virtproof-ab-cd")),
        ("LABEL=R", False, ("R", "virtproof-52-54-00-00-00-0a")),
        ("LABEL=R/rack7/{mac}", True, ("R", "rack7/52-54-00-00-00-0a")),
    ],
)
def test_a_partition_gets_a_folder_of_this_machine(monkeypatch, consoles, out, uuid, place):
    stored = []
    monkeypatch.setattr(deliver, "store", lambda label, folder, files: stored.append((label, folder)))
    if not uuid:
        inside.UUID.unlink()
    inside.deliver_to(parse(f"virtproof.out={out}"), consoles)
    assert stored == [place]


@pytest.mark.parametrize(("names", "port"), [(["tty0", "ttyS1"], "/dev/ttyS1"), (["tty0"], "/dev/ttyS0")])
def test_serial_is_the_console_that_is_one(monkeypatch, names, port):
    ports = []
    monkeypatch.setattr(deliver, "stream", lambda where, files: ports.append(str(where)))
    consoles = Consoles(names, inside.RESULTS)
    assert inside.deliver_to(parse("virtproof.out=serial"), consoles) == port
    assert ports == [port]


def test_delivery_is_tried_until_it_succeeds_more_and_more_patiently(monkeypatch, consoles):
    failures, pauses, loads = 7, [], []

    def once(parameters, consoles):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Fault("PUT x", "Connection refused", "check the server")
        return "x"

    monkeypatch.setattr(inside, "deliver_to", once)
    monkeypatch.setattr(inside, "load", lambda consoles: loads.append(1))
    monkeypatch.setattr(inside.time, "sleep", pauses.append)
    inside.hand_over(parse("virtproof.out=serial"), consoles)
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    assert len(loads) == 7
    said = consoles.said.decode()
    assert said.count("not delivered: PUT x: Connection refused") == 7
    assert said.endswith("virtproof: delivered to x\n")


def test_without_an_address_the_result_stays(monkeypatch, consoles):
    monkeypatch.setattr(inside, "deliver_to", lambda *_: pytest.fail("nothing to deliver to"))
    inside.hand_over(parse(""), consoles)
    assert b"the result stays here" in consoles.said


def test_modaliases_of_all_devices(tmp_path):
    for place, text in (("pci0/a", "pci:v1\n"), ("pci0/a/usb", "usb:v2\n"), ("b", "pci:v1\n"), ("c", "\n")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "modalias").write_text(text)
    assert inside.modaliases(tmp_path) == {"pci:v1", "usb:v2"}


@pytest.fixture
def modprobe(monkeypatch):
    """Calls of modprobe, and what becomes of them: module -> complaint."""
    calls: list[tuple[str, ...]] = []
    complaints: dict[str, str] = {}

    def run(command, **options):
        calls.append(tuple(command))
        said = complaints.get(command[-1], "")
        return subprocess.CompletedProcess(command, bool(said), "", said)

    monkeypatch.setattr(inside.subprocess, "run", run)
    return calls, complaints


def test_devices_behind_devices_get_their_drivers_and_none_is_asked_for_twice(monkeypatch, modprobe, consoles):
    found = iter([{"pci:1"}, {"pci:1", "usb:2"}, {"pci:1", "usb:2"}])
    monkeypatch.setattr(inside, "modaliases", lambda: next(found))
    inside.load(consoles)
    calls, _ = modprobe
    assert calls[:2] == [("modprobe", "-abq", "pci:1"), ("modprobe", "-abq", "usb:2")]
    assert [call[1] for call in calls[2:]] == list(inside.MODULES)
    assert consoles.said == b""


def test_drivers_that_do_not_load_are_named_but_for_kvm_of_which_the_check_tells(monkeypatch, modprobe, consoles):
    monkeypatch.setattr(inside, "modaliases", set)
    modprobe[1].update({"msr": "Exec format error\n", "kvm_amd": "not supported\n"})
    inside.load(consoles)
    assert consoles.said == b"virtproof: modprobe msr: Exec format error\n"
