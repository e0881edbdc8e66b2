"""Hosts asked through Ansible, as far as that can be seen without it: events in, states out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.fleet.conftest import GOOD
from virtproof.cli import fleet_run
from virtproof.cli.app import run
from virtproof.fleet import drive, roll
from virtproof.fleet.drive import ASKED, CHECKED, COLLECTED, FIRST, Order, Progress, _Host
from virtproof.fleet.roll import Attempt, State
from virtproof.results import Evidence
from virtproof.results_json import dump_evidence, dump_run, load_run
from virtproof.spec.fault import Fault


def event(kind: str, task: str, host: str = "h", **result: object) -> dict[str, Any]:
    moment = {"start": "2026-05-31T10:00:00+00:00", "end": "2026-05-31T10:01:00+00:00"}
    return {"event": f"runner_on_{kind}", "event_data": {"host": host, "task": task, "res": result, **moment}}


OK = event("ok", FIRST)


def ended(**result: object) -> dict[str, Any]:
    """The check ended as it should not; the role goes on and looks for a run."""
    failed = event("failed", ASKED, **result)
    failed["event_data"]["ignore_errors"] = True
    return failed


@pytest.mark.parametrize(
    ("events", "state", "detail"),
    [
        ([OK, event("ok", CHECKED)], State.CHECKED, ""),
        ([OK, event("ok", COLLECTED)], State.COLLECTED, "older than 3.11"),
        ([event("unreachable", FIRST, msg="No route\nto host\x1b")], State.UNREACHABLE, "No route to host\\x1b"),
        ([OK, event("unreachable", "Run", msg="gone")], State.FAILED, "The connection was lost at 'Run': gone"),
        ([OK, event("failed", "Run", msg="rc 4", stderr="disk full")], State.FAILED, "Run: rc 4 disk full"),
        ([OK, event("failed", "Run", msg="first"), event("failed", "Tidy", msg="then")], State.FAILED, "Run: first"),
        ([OK, event("ok", CHECKED), event("unreachable", "Tidy", msg="gone")], State.CHECKED, ""),
        ([OK, event("ok", CHECKED), event("failed", "Tidy", msg="gone")], State.CHECKED, ""),
        ([OK, ended(rc=4, stderr="1 error"), event("ok", CHECKED)], State.CHECKED, "check: exit code 4: 1 error"),
        ([OK, ended(rc=124), event("ok", CHECKED)], State.CHECKED, "it took longer than it may"),
        ([OK, ended(msg="too slow"), event("ok", CHECKED)], State.CHECKED, "check: too slow"),
        ([OK, ended(rc=4), event("failed", "Need", msg="left no run")], State.FAILED, "Need: left no run"),
        ([OK, ended(rc=4), event("unreachable", "Bring", msg="gone")], State.FAILED, "lost at 'Bring': gone"),
        ([OK, event("async_failed", "Run", msg="x"), event("ok", CHECKED)], State.CHECKED, ""),
        ([OK], State.FAILED, "Ansible ended before"),
        ([], State.FAILED, "Ansible ended before"),
        ([OK, {"event": "playbook_on_stats"}], State.FAILED, "No run came back."),
        ([{}, {"event": None}, {"event": "runner_on_ok"}, event("ok", CHECKED, "other")], State.FAILED, "Ansible"),
        ([event("failed", "Run")], State.FAILED, "no reason given"),
        ([event("unreachable", FIRST, msg="x" * 100_000)], State.UNREACHABLE, "x" * 500 + "… ("),
    ],
)  # fmt: skip
def test_what_events_say_of_a_host(events: list[dict[str, Any]], state: State, detail: str) -> None:
    progress = Progress({"h": _Host()})
    for one in events:
        progress.take(one)
    (attempt,) = progress.attempts()
    assert attempt.state is state
    assert detail in attempt.detail if detail else not attempt.detail
    assert len(attempt.detail) < 1000


def test_a_host_is_settled_once() -> None:
    progress = Progress({"h": _Host()})
    events = [OK, event("ok", CHECKED), event("ok", "Tidy")]
    assert [progress.take(one) for one in events] == [None, "h", None]


ORDER = Order(inventory="a,b,", arriving=Path("/out"), bundles=Path("/dist"), profile="p", waivers="", options=())


class Ansible:
    """Instead of Ansible: a listing of hosts, and a script that prints events."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.listing = "  play #1\n    pattern: ['all']\n    hosts (2):\n      a\n      b\n"
        self.events = ""
        patch.setattr(drive, "_tool", self.tool)

    def tool(self, module: str, script: str, *words: str) -> list[str]:
        file = self.folder / f"{script}.py"
        file.write_text(self.events if module == "ansible_runner" else f"print({self.listing!r})")
        return [sys.executable, str(file)]


@pytest.fixture
def ansible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ansible:
    return Ansible(tmp_path, monkeypatch)


def printing(*events: object) -> str:
    return "".join(f"print({json.dumps(one)!r}, flush=True)\n" for one in events)


def test_events_are_read_from_a_process(ansible: Ansible) -> None:
    end = {"event": "playbook_on_stats"}
    ansible.events = "print('[WARNING]: odd')\n" + printing(event("ok", FIRST, "a"), event("ok", CHECKED, "a"), end)
    told: list[Attempt] = []
    progress = drive.drive(ORDER, told.append)
    assert [(one.host, one.state) for one in told] == [("a", State.CHECKED)]
    assert [(one.host, one.state) for one in progress.attempts()] == [("a", State.CHECKED), ("b", State.FAILED)]
    assert [*progress.said] == ["[WARNING]: odd"]
    assert progress.through


def test_no_host_is_a_fault(ansible: Ansible) -> None:
    ansible.listing = "    hosts (0):\n"
    with pytest.raises(Fault, match="there is none"):
        drive.drive(ORDER, lambda attempt: None)


def test_ctrl_c_ends_ansible_and_its_workers_and_keeps_what_is_known(
    ansible: Ansible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "PATIENCE", 10)
    ansible.events = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(worker.pid)\n" + printing(event("ok", CHECKED, "a")) + "time.sleep(600)\n"
    )

    def interrupt(attempt: Attempt) -> None:
        signal.raise_signal(signal.SIGINT)

    progress = drive.drive(ORDER, interrupt)
    assert progress.interrupted
    assert not progress.through
    assert [one.state for one in progress.attempts()] == [State.CHECKED, State.FAILED]
    assert processes.ends(int(progress.said[0]))


def test_ansible_that_is_not_there_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Fault, match="not installed") as caught:
        drive.drive(ORDER, lambda attempt: None)
    assert "virtproof[fleet]" in caught.value.remedy


def test_ansible_is_never_imported() -> None:
    script = (
        "import sys; import virtproof.cli.fleet_run, virtproof.fleet.merge, virtproof.fleet.page\n"
        "print([name for name in sys.modules if name.startswith('ansible')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture
def came_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, bytes] | State]:
    """What each host sent, instead of asking any."""
    sent: dict[str, dict[str, bytes] | State] = {}

    def answer(order: Order, settled: object) -> Progress:
        hosts = {}
        for host, files in sent.items():
            state = files if isinstance(files, State) else State.COLLECTED if "host.json" in files else State.CHECKED
            hosts[host] = _Host(state=state, begun=GOOD.started, ended=GOOD.started)
            for name, data in files.items() if isinstance(files, dict) else ():
                (order.arriving / host).mkdir(parents=True, exist_ok=True)
                (order.arriving / host / name).write_bytes(data)
        return Progress(hosts, through=True)

    monkeypatch.setattr(fleet_run, "drive", answer)
    for name in fleet_run.BUNDLES:
        (tmp_path / name).touch()
    return sent


def run_of(outcome: str) -> dict[str, bytes]:
    text = dump_run(GOOD).replace('"outcome": "compliant"', f'"outcome": "{outcome}"')
    return {"run.json": text.encode(), "evidence.json.gz": dump_evidence(Evidence(snapshot={}, facts=(), cases=()))}


def fleet(tmp_path: Path) -> int:
    return run(["fleet", "run", "-i", "all,", "--out", str(tmp_path / "out"), "--bundles", str(tmp_path)])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"a": run_of("compliant")}, 0),
        ({"a": run_of("compliant"), "b": run_of("unknown")}, 5),
        ({"a": run_of("not compliant"), "b": run_of("unknown")}, 3),
        ({"a": run_of("not compliant"), "b": State.UNREACHABLE}, 4),
        ({"a": run_of("compliant"), "b": State.FAILED}, 4),
        ({"a": run_of("compliant"), "b": {"run.json": b"{"}}, 4),
        ({"a": run_of("compliant"), "b": run_of("error")}, 4),
        ({"a": run_of("not compliant"), "b": run_of("interrupted")}, 4),
    ],
)
def test_the_exit_code_is_that_of_the_strongest_host(
    came_back: dict[str, Any], tmp_path: Path, sent: dict[str, Any], code: int
) -> None:
    came_back.update(sent)
    assert fleet(tmp_path) == code
    assert (tmp_path / "out" / "fleet.html").exists()


def test_an_earlier_run_does_not_stand_for_one_that_failed(came_back: dict[str, Any], tmp_path: Path) -> None:
    came_back["a"] = run_of("compliant")
    assert fleet(tmp_path) == 0
    came_back["a"] = State.UNREACHABLE
    assert fleet(tmp_path) == 4
    assert load_run((tmp_path / "out" / "a" / "run.json").read_bytes()) == GOOD


def test_reports_are_made_here_and_nothing_else_of_a_host_is_kept(came_back: dict[str, Any], tmp_path: Path) -> None:
    came_back["a"] = {**run_of("compliant"), "report.html": b"<script>", "evil.sh": b""}
    fleet(tmp_path)
    kept = {file.name: file.read_bytes() for file in (tmp_path / "out" / "a").iterdir()}
    assert kept.keys() == {"run.json", "evidence.json.gz", "report.html", "SHA256SUMS"}
    assert kept["report.html"] != b"<script>"
    assert not (tmp_path / "out" / fleet_run.ARRIVING).exists()
    assert run(["verify", str(tmp_path / "out" / "a")]) == 0


def test_a_snapshot_is_judged_here(came_back: dict[str, Any], tmp_path: Path) -> None:
    from virtproof.probes.collect import collect
    from virtproof.probes.snapshot import dumps

    came_back["a"] = {"host.json": dumps(collect()).encode()}
    assert fleet(tmp_path) in {3, 5}
    made = load_run((tmp_path / "out" / "a" / "run.json").read_bytes())
    assert "older than 3.11" in made.not_proven[0]
    came_back["a"] = {"host.json": b"{}"}
    assert fleet(tmp_path) == 4
    (one,) = roll.load(tmp_path / "out" / roll.FILE).hosts
    assert (one.state, one.detail[:31]) == (State.FAILED, "What came back cannot be used: ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-i", "a,", "--profile", "kvm-hots"], 64, "did you mean kvm-host?"),
        ([], 64, "--inventory"),
        (["-i", "a,", "--bundles", "."], 4, "make bundle"),
    ],
)
def test_what_is_wrong_is_said_before_any_host_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["fleet", "run", *arguments]) == code
    assert said in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
