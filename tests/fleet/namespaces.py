"""Hosts for a fleet on one machine: network namespaces, each with an sshd and a PATH of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

TOOLS = ("sh", "mkdir", "chmod", "rm", "cat", "ls", "echo", "test", "sleep", "dd", "ip", "timeout", "sed")
# Not sys.executable: in a virtual environment of pyenv's that is a script, which needs more than a host has here.
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
SSHD = "/usr/sbin/sshd"
PORT = 2222
CONFIG = """
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
ForceCommand {shell}
"""


class Hosts:
    """A context manager; what it made is gone after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, str] = {}  # host -> address
        self._stack = ExitStack()
        self._tag = f"vp{os.getpid() % 100_000}"

    def __enter__(self) -> Self:
        for key in ("host_key", "client_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key))
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd's unprivileged part lives
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def add(self, name: str, python: str | None) -> None:
        """A host whose PATH has a few tools, and ``python`` as the script python3; None: no Python at all."""
        tools = self.folder / name
        tools.mkdir()
        for tool in TOOLS:
            (tools / tool).symlink_to(str(shutil.which(tool)))
        if python is not None:
            (tools / "python3").write_text(f'#!/bin/sh\n{python}\nexec {PYTHON} "$@"\n')
            (tools / "python3").chmod(0o755)
        space, number = f"{self._tag}-{name}", len(self.names) + 1
        outside, inside = f"10.213.{number}.1", f"10.213.{number}.2"
        _run("ip", "netns", "add", space)
        self._stack.callback(_remove, space)
        _run("ip", "link", "add", f"{self._tag}e{number}", "type", "veth", "peer", "name", "eth0", "netns", space)
        self._stack.callback(_run, "ip", "link", "delete", f"{self._tag}e{number}")
        _run("ip", "address", "add", f"{outside}/30", "dev", f"{self._tag}e{number}")
        _run("ip", "link", "set", f"{self._tag}e{number}", "up")
        _run("ip", "-n", space, "address", "add", f"{inside}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", space, "link", "set", device, "up")
        config = self.folder / f"{name}.conf"
        shell = self.folder / f"{name}.sh"  # no shell of root's own: its files may set PATH again
        shell.write_text(f'#!/bin/sh\nPATH={tools}; export PATH\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
        shell.chmod(0o755)
        config.write_text(CONFIG.format(folder=self.folder, shell=shell))
        log = str(self.folder / f"{name}.log")
        daemon = ("ip", "netns", "exec", space, SSHD, "-D", "-E", log, "-p", str(PORT), "-f", str(config))
        process = self._stack.enter_context(subprocess.Popen(daemon))
        self._stack.callback(process.kill)
        self.names[name] = inside

    def add_nobody(self, name: str) -> None:
        """An address where nobody answers."""
        self.names[name] = f"10.213.{len(self.names) + 1}.2"
        _run("ip", "route", "add", "unreachable", f"{self.names[name]}/32")
        self._stack.callback(_run, "ip", "route", "delete", "unreachable", f"{self.names[name]}/32")

    def wait(self) -> None:
        """Return when every sshd listens."""
        deadline = time.monotonic() + 60
        for config in self.folder.glob("*.conf"):
            log = config.with_suffix(".log")
            while not log.exists() or "Server listening" not in log.read_text():
                assert time.monotonic() < deadline, log
                time.sleep(0.05)

    def inventory(self) -> Path:
        """An Ansible inventory of them all."""
        arguments = "-o ServerAliveInterval=1 -o ServerAliveCountMax=3"
        arguments += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        lines = [f"{name} ansible_host={address}" for name, address in self.names.items()]
        lines += [
            "[all:vars]",
            f"ansible_port={PORT}",
            "ansible_user=root",
            "ansible_pipelining=true",
            "ansible_ssh_args='-o ControlMaster=auto -o ControlPersist=3s'",
            "ansible_ssh_transfer_method=piped",  # the forced command is no sftp server
            f"ansible_ssh_private_key_file={self.folder}/client_key",
            f'ansible_ssh_extra_args="{arguments}"',
        ]
        path = self.folder / "inventory"
        path.write_text("\n".join(lines) + "\n")
        return path


def _remove(space: str) -> None:
    """Remove a namespace: sessions of its sshd would keep it alive."""
    inside = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=True).stdout
    for process in inside.split():
        with suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
    _run("ip", "netns", "delete", space)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
