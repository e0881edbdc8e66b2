"""What runs in the booted image, as root: load drivers, check the machine, deliver, then wait or power off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from virtproof.lab.image import deliver, network
from virtproof.lab.image.parameters import Parameters, Then, parse
from virtproof.spec.fault import Fault

RESULTS = Path("/out")
LOG = "image.log"
# What is no device's driver.  That one of KVM's two does not load is for the check to tell.
MODULES = ("msr", "cpuid", "tun", "vhost_net", "vfio_pci", "vfio_iommu_type1", "kvm_intel", "kvm_amd")
ROUNDS = 6  # a bus that is found behind a driver brings new devices
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds before a delivery is tried again
ACTIVE = Path("/sys/class/tty/console/active")
UUID = Path("/sys/class/dmi/id/product_uuid")


class Consoles:
    """All consoles of the kernel; what is said there is kept, too."""

    def __init__(self, names: list[str], folder: Path = Path("/dev")) -> None:
        self.names = names
        self.said = bytearray()
        self._folder = folder

    def write(self, data: bytes) -> None:
        self.said += data
        for name in self.names:
            try:
                # Without O_NONBLOCK a serial port with flow control and nobody behind it would hold us up for ever.
                handle = os.open(self._folder / name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                _write_patiently(handle, data)
            finally:
                os.close(handle)

    def say(self, text: str) -> None:
        self.write(f"virtproof: {text}\n".encode())


def main() -> None:
    line = Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace")
    parameters = parse(line)
    # What the kernel says now would stand in the middle of ours.
    subprocess.run(["dmesg", "-n", "1"], check=False)
    consoles = Consoles(ACTIVE.read_text(encoding="ascii").split() or ["console"])
    consoles.say(f"validation image, kernel {os.uname().release}")
    for complaint in parameters.wrong:
        consoles.say(f"the kernel's command line: {complaint}")
    load(consoles)
    code = check(parameters, consoles)
    uptime = Path("/proc/uptime").read_text(encoding="ascii").split()[0]
    consoles.say(f"checked, exit code {code}, {uptime} s after the kernel started")
    hand_over(parameters, consoles)
    if parameters.then is Then.POWEROFF:
        consoles.say("powering off")
        subprocess.run(["poweroff", "-f"], check=False)
    consoles.say("done; ctrl-alt-del reboots")
    while True:
        time.sleep(3600)


def load(consoles: Consoles) -> None:
    """Load KVM, and the drivers of what is plugged in, which tells by what name its driver is found (modalias)."""
    known: set[str] = set()
    for _ in range(ROUNDS):
        names = modaliases() - known
        if not names:
            break
        known |= names
        # -a: all of them in one go; -b: heed the blacklist; -q: most have no driver in the image.
        subprocess.run(["modprobe", "-abq", *sorted(names)], capture_output=True, check=False)
    for module in MODULES:
        done = subprocess.run(["modprobe", module], capture_output=True, text=True, errors="replace", check=False)
        if done.returncode and not module.startswith("kvm"):
            consoles.say(f"modprobe {module}: {done.stderr.strip()}")


def modaliases(folder: Path = Path("/sys/devices")) -> set[str]:
    """What the devices of this machine call their drivers by."""
    found = set()
    for at, _, files in os.walk(folder):
        if "modalias" in files:
            try:
                found.add(Path(at, "modalias").read_text(encoding="ascii", errors="replace").strip())
            except OSError:
                continue  # a device that has gone
    return found - {""}


def check(parameters: Parameters, consoles: Consoles) -> int:
    """Run ``virtproof check``; what it prints goes to all consoles."""
    RESULTS.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "virtproof", "check", "--out", str(RESULTS), *parameters.check]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        assert running.stdout is not None
        while data := os.read(running.stdout.fileno(), 1 << 16):
            consoles.write(data)
        return running.wait()


def hand_over(parameters: Parameters, consoles: Consoles) -> None:
    """Deliver, and try again until it succeeds."""
    if not parameters.out:
        consoles.say("no virtproof.out= on the kernel's command line: the result stays here")
        return
    pause = FIRST_PAUSE
    while True:
        try:
            where = deliver_to(parameters, consoles)
        except Fault as fault:
            consoles.say(f"not delivered: {fault}")
            consoles.say(f"trying again in {pause:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            load(consoles)  # somebody may have plugged something in
        else:
            consoles.say(f"delivered to {where}")
            return


def deliver_to(parameters: Parameters, consoles: Consoles) -> str:
    """Deliver once and say where to.  Raises ``Fault``."""
    files = {path.name: path.read_bytes() for path in sorted(RESULTS.iterdir()) if path.is_file()}
    files[LOG] = bytes(consoles.said)
    if parameters.out == "serial":
        port = Path("/dev") / next((name for name in consoles.names if name.startswith("ttyS")), "ttyS0")
        consoles.say(f"sending the results through {port}: virtproof image receive takes them")
        deliver.stream(port, files)
        return str(port)
    uuid, mac = _uuid(), network.mac(parameters.bootif).replace(":", "-")
    names = {"uuid": uuid or "no-uuid", "mac": mac or "no-mac"}
    if parameters.out.startswith("LABEL="):
        label, _, folder = parameters.out.removeprefix("LABEL=").partition("/")
        folder = filled_in(folder or f"virtproof-{uuid or mac or 'unknown'}", names)
        deliver.store(label, folder, files)
        return f"{folder} on {label}"
    network.up(parameters.ip, parameters.bootif, consoles.say)
    address = filled_in(parameters.out, names)
    deliver.put(address, files)
    return address


def filled_in(text: str, names: Mapping[str, str]) -> str:
    """``text`` with {uuid} and {mac} of this machine, so that many machines may deliver to one place."""
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _uuid() -> str:
    """SMBIOS, "System Information (Type 1)", UUID."""
    try:
        return UUID.read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return ""


def _write_patiently(handle: int, data: bytes, seconds: float = 5.0) -> None:
    """Write what the terminal takes; give up when it takes nothing for so long."""
    rest = memoryview(data)
    patience = time.monotonic() + seconds
    while rest and time.monotonic() < patience:
        try:
            rest = rest[os.write(handle, rest) :]
            patience = time.monotonic() + seconds
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return


if __name__ == "__main__":
    main()
