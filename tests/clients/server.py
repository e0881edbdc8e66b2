"""A real DHCP and TFTP server beside a guest's bridge: dnsmasq."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from virtproof.spec.fault import Fault
from virtproof.vmm.network.tap import Bridge

ADDRESS, FIRST, LAST = "10.0.2.1", "10.0.2.10", "10.0.2.20"


class Server:
    """Serves the files of ``folder``; ``boot`` is the one that a network boot asks for.  Skips where that cannot be."""

    def __init__(self, folder: Path, boot: str = "") -> None:
        program = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"
        if not Path(program).exists():
            pytest.skip("no dnsmasq (Debian: dnsmasq-base)")
        self._log, self._leases = folder / "dnsmasq.log", folder / "leases"
        try:
            self.bridge = Bridge([f"{ADDRESS}/24"])
        except Fault as fault:
            pytest.skip(str(fault))
        files = folder / "tftp"
        files.mkdir(exist_ok=True)
        command = [
            program, "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=br0",
            "--bind-interfaces", f"--dhcp-range={FIRST},{LAST},1h", f"--dhcp-leasefile={self._leases}", "--no-ping",
            f"--log-facility={self._log}", "--log-dhcp", "--enable-tftp", f"--tftp-root={files}",
            f"--pid-file={folder / 'pid'}", *([f"--dhcp-boot={boot}"] if boot else []),
        ]  # fmt: skip
        self._process = self.bridge.call(lambda: subprocess.Popen(command, stderr=subprocess.PIPE))

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def leases(self) -> list[str]:
        """The hardware addresses that have one."""
        return [line.split()[1] for line in self._leases.read_text().splitlines()] if self._leases.exists() else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()
        self.bridge.close()
