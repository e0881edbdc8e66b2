"""Every form of the image boots, with the firmware it is for, and delivers in every way.

A boot takes half a minute under emulation, more on a busy machine: one runs with all tests, all with VIRTPROOF_LAB=all.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from virtproof.lab.image import contents
from virtproof.lab.image.build import build
from virtproof.lab.image.receive import receive
from virtproof.lab.missing import Missing
from virtproof.results import Outcome, Verdict
from virtproof.results_json import load_evidence, load_run

QEMU = "qemu-system-x86_64"
OVMF = Path("/usr/share/ovmf/OVMF.fd")
SECONDS = 300.0  # ten times as long as a boot takes
PARAMETERS = "virtproof.then=poweroff virtproof.args=claim"
LABEL = "RESULTS"
FILES = {"run.json", "evidence.json.gz", "report.html", "junit.xml", "SHA256SUMS", "image.log"}

pytestmark = pytest.mark.lab
slow = pytest.mark.skipif(os.environ.get("VIRTPROOF_LAB") != "all", reason="make lab boots this form, too")


def need(*programs: str) -> None:
    for program in programs:
        if not (shutil.which(program) or Path(program).exists()):
            pytest.skip(f"no {program} on this machine")


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    need(QEMU)
    folder = tmp_path_factory.mktemp("image")
    try:
        build(folder)
    except Missing as fault:
        pytest.skip(str(fault))
    return folder


@pytest.fixture(scope="module")
def iso(tmp_path_factory) -> Path:
    need(QEMU)
    folder = tmp_path_factory.mktemp("iso")
    try:
        build(folder, with_iso=True, parameters=f"{PARAMETERS} virtproof.out=LABEL={LABEL}")
    except Missing as fault:
        pytest.skip(str(fault))
    return folder / "virtproof.iso"


def boot(console: Path, *devices: str) -> str:
    """Boot a machine that powers itself off; return what stood on its serial console."""
    command = [
        "nice", "-n", "5", QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", "tcg",
        "-machine", "q35", "-cpu", "EPYC,-hypervisor", "-m", "1024", "-serial", f"file:{console}", *devices,
    ]  # fmt: skip
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it did not power off: {console.read_text(errors='replace')[-2000:]}")
    return console.read_bytes().decode("utf-8", "replace")


def by_network(image: Path, parameters: str) -> list[str]:
    """What a boot loader of a network does: kernel, initrd and command line."""
    line = f"console=tty0 console=ttyS0,115200 quiet {PARAMETERS} {parameters}"
    return ["-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"), "-append", line]


def check(files: dict[str, bytes], console: str) -> None:
    """The results are whole, and are those of guests on the machine's own KVM."""
    assert files.keys() == FILES
    run = load_run(files["run.json"], "run.json")
    evidence = load_evidence(files["evidence.json.gz"], "evidence.json.gz")
    assert run.outcome is Outcome.UNKNOWN  # few cases were run
    verdicts = {one.id: one.verdict for one in evidence.cases}
    odd = [case for case, verdict in verdicts.items() if verdict not in {Verdict.PASS, Verdict.SKIP}]
    assert odd == ["claim.backend.apic", "claim.backend.apic.memory"], "the emulated processor has no AVIC"
    assert Verdict.PASS in verdicts.values()
    assert run.summary in console.replace("\r", "")
    assert b"<html" in files["report.html"]
    assert b"checked, exit code 5" in files["image.log"]
    assert "modprobe" not in console
    assert "Power down" in console


def test_by_network_to_a_server_that_is_busy_at_first(image, server, tmp_path):
    server.busy = 1
    address = f"http://10.0.2.2:{server.port}/rack7/{{mac}}"
    console = boot(
        tmp_path / "console", *by_network(image, f"ip=dhcp virtproof.out={address}"),
        "-netdev", "user,id=net", "-device", "e1000,netdev=net,mac=52:54:00:ab:cd:ef",
    )  # fmt: skip
    files = {path.removeprefix("/rack7/52-54-00-ab-cd-ef/"): data for path, data in server.taken.items()}
    check(files, console)
    assert "HTTP status 503" in console
    assert "trying again in 2 s" in console
    assert "eth0: 10.0.2.15/24 by DHCP" in console


@slow
def test_by_network_to_a_server_with_a_certificate(server, tmp_path, monkeypatch):
    """The image trusts what the machine that built it trusts."""
    need(QEMU)
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("10.0.2.2").configure_cert(context)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setattr(contents, "CERTIFICATES", tmp_path / "authority.pem")
    try:
        build(tmp_path / "trusting")
    except Missing as fault:
        pytest.skip(str(fault))
    adapter = ["-netdev", "user,id=net", "-device", "virtio-net,netdev=net"]
    words = f"virtproof.out=https://10.0.2.2:{server.port}"

    console = boot(tmp_path / "console", *by_network(tmp_path / "trusting", words), *adapter)

    check({path.removeprefix("/"): data for path, data in server.taken.items()}, console)


@slow
def test_by_network_through_the_serial_console(image, tmp_path):
    console = boot(tmp_path / "console", *by_network(image, "virtproof.out=serial"))
    with open(tmp_path / "console", "rb") as source:
        files = receive(source.read, "the console")
    check(files, console)


@slow
def test_from_cd_by_bios_to_ext4(iso, tmp_path):
    need("mkfs.ext4", "debugfs")
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", LABEL, disk], check=True)
    console = boot(
        tmp_path / "console", "-drive", f"file={iso},if=none,media=cdrom,id=cd",
        "-device", "ide-cd,drive=cd,bootindex=0",
        "-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk",
        "-uuid", "12345678-9abc-def0-1234-56789abcdef0",
    )  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {out}", disk], check=True, capture_output=True)
    folder = out / "virtproof-12345678-9abc-def0-1234-56789abcdef0"
    check({path.name: path.read_bytes() for path in folder.iterdir()}, console)


@slow
def test_from_stick_by_uefi_to_fat(iso, tmp_path):
    need("mkfs.vfat", "mcopy", str(OVMF))
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 64 << 20)
    subprocess.run(["mkfs.vfat", "-n", LABEL, disk], check=True, capture_output=True)
    console = boot(
        tmp_path / "console", "-bios", str(OVMF), "-device", "qemu-xhci",
        "-drive", f"file={iso},format=raw,if=none,readonly=on,id=stick",
        "-device", "usb-storage,drive=stick,bootindex=0",
        "-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "nvme,drive=disk,serial=1",
        "-uuid", "12345678-9abc-def0-1234-56789abcdef0",
    )  # fmt: skip
    out = tmp_path / "out"
    subprocess.run(["mcopy", "-s", "-i", disk, "::/virtproof-12345678-9abc-def0-1234-56789abcdef0", out], check=True)
    check({path.name: path.read_bytes() for path in out.iterdir()}, console)
