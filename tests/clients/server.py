"""Real servers beside a guest's bridge: dnsmasq for DHCP and TFTP, Python's own for HTTP, and one that echoes."""

from __future__ import annotations

import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from virtproof.spec.fault import Fault
from virtproof.vmm.network.tap import Bridge

ADDRESS, FIRST, LAST = "10.0.2.1", "10.0.2.10", "10.0.2.20"
HTTP, ECHO = 80, 7


class Quiet(SimpleHTTPRequestHandler):
    """Keeps what was asked for with the server."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.server.asked.append((self.path, int(code)))  # type: ignore[attr-defined]


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes: that was right when what returns is."""

    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class Server:
    """Serves the files of ``folder``/tftp; ``boot`` is what a network boot asks for.  Skips where that cannot be.

    ``asked`` is what came over HTTP: paths and status codes.
    """

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
            "setpriv", "--pdeathsig", "KILL",
            program, "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=br0",
            "--bind-interfaces", f"--dhcp-range={FIRST},{LAST},1h", f"--dhcp-leasefile={self._leases}", "--no-ping",
            f"--log-facility={self._log}", "--log-dhcp", "--enable-tftp", f"--tftp-root={files}",
            f"--pid-file={folder / 'pid'}", *([f"--dhcp-boot={boot}"] if boot else []),
        ]  # fmt: skip
        self._process = self.bridge.call(lambda: subprocess.Popen(command, stderr=subprocess.PIPE))
        self.asked: list[tuple[str, int]] = []
        self._listeners: list[socketserver.TCPServer] = []
        self._listen(lambda: ThreadingHTTPServer((ADDRESS, HTTP), partial(Quiet, directory=str(files))))
        self._listen(lambda: socketserver.ThreadingTCPServer((ADDRESS, ECHO), Echo))

    def _listen(self, make: Callable[[], socketserver.TCPServer]) -> None:
        listener = self.bridge.call(make)
        listener.asked = self.asked  # type: ignore[attr-defined]
        self._listeners.append(listener)
        threading.Thread(target=listener.serve_forever, daemon=True).start()

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
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()
        self._process.terminate()
        self._process.communicate()
        self.bridge.close()
