"""Hosts asked through Ansible: ansible-runner as a process of its own, whose events tell what came of each host.

Ansible is under the GPL: nothing of it is imported here.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from virtproof.fleet.roll import Attempt, State
from virtproof.reports.printable import printable
from virtproof.spec.fault import Fault

COLLECTION = Path(__file__).parent / "ansible"
PLAYBOOK = "virtproof.fleet.check"
# Tasks of the role that say what came back; tests/fleet/test_drive.py holds them against it.
CHECKED, COLLECTED = "Bring the run back", "Bring the snapshot back"
FIRST = "Look for a Python"
ASKED = "Run virtproof check"  # where it fails there may be a run all the same
TIMED_OUT = 124  # the exit code of timeout(1)
DETAIL = 500  # characters of what a host or Ansible said
LINE = 64 << 20  # of an event
SAID = 20  # lines of Ansible's own words that are kept for an error
PATIENCE = 20  # seconds for Ansible to end after it was asked to
REMEDY = "pip install 'virtproof[fleet]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do on the hosts."""

    inventory: str  # a file or folder, or names with commas, as Ansible takes it
    arriving: Path  # where files are brought to, a folder for each host
    bundles: Path
    profile: str
    waivers: str
    options: Sequence[str]  # Ansible's own


@dataclass(slots=True)
class _Host:
    """What is known of one host so far."""

    begun: str = ""
    ended: str = ""
    reached: bool = False
    state: State | None = None
    detail: str = ""

    def attempt(self, name: str, otherwise: str) -> Attempt:
        state = self.state or State.FAILED
        detail = self.detail if self.state else otherwise
        return Attempt(host=name, state=state, detail=detail, begun=self.begun, ended=self.ended)


@dataclass(slots=True)
class Progress:
    """All hosts that are asked; takes Ansible's events."""

    hosts: dict[str, _Host]
    through: bool = False  # did Ansible get to its end?
    interrupted: bool = False
    said: deque[str] = field(default_factory=lambda: deque(maxlen=SAID))

    def take(self, event: dict[str, Any]) -> str | None:
        """Take one event; the name of a host whose state it settled, if it did."""
        data = event.get("event_data") or {}
        kind, name, task = event.get("event"), data.get("host"), data.get("task")
        if kind == "playbook_on_stats":
            self.through = True
        if kind in {"verbose", "error", "warning"} and event.get("stdout"):
            self.said.append(str(event["stdout"]))
        if kind not in {"runner_on_ok", "runner_on_failed", "runner_on_unreachable"} or name not in self.hosts:
            return None
        host = self.hosts[name]
        host.begun = host.begun or str(data.get("start") or "")
        host.ended = str(data.get("end") or host.ended)
        before = host.state
        if kind == "runner_on_unreachable":
            self._lost(host, task, data)
        elif kind == "runner_on_failed":
            if task == ASKED and data.get("ignore_errors"):
                host.detail = f"{task}: {_ended(data)}"
            elif not data.get("ignore_errors") and host.state is None:
                host.state, host.detail = State.FAILED, f"{task}: {_why(data)}"
        else:
            host.reached = host.reached or task == FIRST
            if task == CHECKED:
                host.state = State.CHECKED
            elif task == COLLECTED:
                host.state = State.COLLECTED
                host.detail = "Its Python is older than 3.11: a snapshot was taken there and judged here; no guest ran."
        return name if host.state is not before else None

    @staticmethod
    def _lost(host: _Host, task: object, data: dict[str, Any]) -> None:
        if host.state in {State.CHECKED, State.COLLECTED}:
            return  # it was only the cleaning up
        if host.reached:
            host.state, host.detail = State.FAILED, f"The connection was lost at '{task}': {_why(data)}"
        else:
            host.state, host.detail = State.UNREACHABLE, _why(data)

    def attempts(self) -> tuple[Attempt, ...]:
        """What came of each host."""
        left = "No run came back." if self.through else "Ansible ended before it was through with this host."
        return tuple(host.attempt(name, left) for name, host in self.hosts.items())


def _ended(data: dict[str, Any]) -> str:
    """How a check ended that ended neither with a verdict nor with the connection."""
    code = (data.get("res") or {}).get("rc")
    if code == TIMED_OUT:
        return "it took longer than it may; its run holds what was done until then."
    return f"exit code {code}: {_why(data)}" if isinstance(code, int) else _why(data)


def _why(data: dict[str, Any]) -> str:
    """What a task said, on one line."""
    result = data.get("res") or {}
    parts = [result.get(key) for key in ("msg", "stderr", "module_stderr")]
    said = " ".join(dict.fromkeys(" ".join(str(part).split()) for part in parts if part))
    return printable(said.removeprefix("Task failed: ") or "no reason given", DETAIL)


def drive(order: Order, settled: Callable[[Attempt], None]) -> Progress:
    """Ask all hosts; ``settled`` is called for each as soon as its state is known.

    KeyboardInterrupt ends Ansible, and what is known until then is returned.  Raises Fault where Ansible is not
    installed, does not start, or knows no host.
    """
    runner, playbook = _tool("ansible_runner", "ansible-runner"), _tool("ansible", "ansible-playbook", "playbook")
    with tempfile.TemporaryDirectory(prefix="virtproof-fleet-") as name:
        scratch = Path(name)
        arguments = _prepare(scratch, order)
        environment = _environment(scratch)
        script = str(scratch / "project" / "check.yml")
        hosts = _hosts([*playbook, "--list-hosts", script, *arguments], environment, order.inventory)
        progress = Progress({host: _Host() for host in hosts})
        command = [*runner, "run", str(scratch), "-p", "check.yml", "--json", f"--cmdline={shlex.join(arguments)}"]
        try:
            for event in _events(command, environment, progress):
                if host := progress.take(event):
                    settled(progress.hosts[host].attempt(host, ""))
        except KeyboardInterrupt:
            progress.through, progress.interrupted = False, True
        return progress


def _tool(module: str, script: str, *words: str) -> list[str]:
    if find_spec(module):
        return [sys.executable, "-m", module, *words]
    if path := shutil.which(script):
        return [path]
    raise Fault(f"start {script}", "it is not installed", REMEDY)


def _prepare(scratch: Path, order: Order) -> list[str]:
    """Write the folder that ansible-runner works in; return the arguments for ansible-playbook."""
    (scratch / "project").mkdir()
    (scratch / "project" / "check.yml").write_text(f"- import_playbook: {PLAYBOOK}\n")
    (scratch / "collections" / "ansible_collections" / "virtproof").mkdir(parents=True)
    (scratch / "collections" / "ansible_collections" / "virtproof" / "fleet").symlink_to(COLLECTION.resolve())
    variables = {
        "virtproof_bundles": str(order.bundles.absolute()),
        "virtproof_out": str(order.arriving.absolute()),
        "virtproof_profile": order.profile,
        "virtproof_waivers": order.waivers,
    }
    (scratch / "variables.json").write_text(json.dumps(variables))
    inventory = order.inventory if "," in order.inventory else os.path.abspath(order.inventory)
    return ["-i", inventory, "-e", f"@{scratch / 'variables.json'}", *order.options]


def _environment(scratch: Path) -> dict[str, str]:
    """Ours, with the collection, and with the configuration that Ansible would find where we were started."""
    here = dict(os.environ)
    here["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), here.get("PATH", os.defpath)])
    collections = [str(scratch / "collections"), here.get("ANSIBLE_COLLECTIONS_PATH", "")]
    here["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(filter(None, collections))
    if os.path.isfile("ansible.cfg"):
        here.setdefault("ANSIBLE_CONFIG", os.path.abspath("ansible.cfg"))
    return here


def _hosts(command: list[str], environment: dict[str, str], inventory: str) -> list[str]:
    """The hosts that the inventory and the options choose."""
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = printable(" ".join(done.stderr.split())[-DETAIL:])
        raise Fault(f"list the hosts of {inventory}", said or f"Ansible ended with {done.returncode}")
    _, _, listed = done.stdout.partition("    hosts (")
    hosts = [line.strip() for line in listed.splitlines()[1:] if line.startswith("      ")]
    if not hosts:
        said = printable(" ".join(done.stderr.split())[-DETAIL:])
        raise Fault(f"list the hosts of {inventory}", said or "there is none", "name an inventory that has hosts")
    return hosts


def _events(command: list[str], environment: dict[str, str], progress: Progress) -> Iterator[dict[str, Any]]:
    """Start ansible-runner and yield its events; it has ended when the last one was yielded."""
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # ctrl-C is ours: a second signal from the terminal would cut its cleaning up short
    ) as process:
        output = process.stdout
        assert output
        try:
            while line := output.readline(LINE):
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    event = None
                if isinstance(event, dict):
                    yield event
                else:
                    progress.said.append(line.decode(errors="replace").rstrip())
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask Ansible to end, and make all of its processes: its workers have sessions of their own, and outlive it."""
    family = _descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    for number, born in family.items():
        if _stat(number)[1:] == born[1:]:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def _descendants(of: int) -> dict[int, tuple[int, int]]:
    """The processes below one, itself among them, with what ``_stat`` says of each."""
    every = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    family = {of: every.get(of, (0, 0))}
    while found := {number: stat for number, stat in every.items() if stat[0] in family and number not in family}:
        family |= found
    return family


def _stat(process: int) -> tuple[int, int]:
    """Parent and time of birth of a process, as /proc/PID/stat has them; zeros where it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[1]), int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0, 0


def now() -> str:
    """The time, as a roll has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
