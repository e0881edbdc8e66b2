"""A fleet of network namespaces, each with a real sshd, asked through Ansible: once, and looked at from all sides."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.building import BUILDS
from tests.fleet.namespaces import PYTHON, SSHD, Hosts
from virtproof.cli.app import run
from virtproof.fleet import roll
from virtproof.fleet.roll import Roll, State
from virtproof.results import Outcome, Run
from virtproof.results_json import load_evidence, load_run

OLD = 'case "$*" in *"(3, 11)"*) exit 1;; esac'
ERRS = f'case "$*" in *"virtproof.pyz check"*) {PYTHON} "$@"; echo "a case went wrong" >&2; exit 4;; esac'
BREAKS = 'case "$*" in *"virtproof.pyz check"*) echo "no space left" >&2; exit 4;; esac'
# As soon as the check would take SIGTERM for a wish to end, timeout(1) is told that its time has come.
LATE = """case "$*" in *"virtproof.pyz check"*) (
    while mask=$(sed -n 's/^SigCgt:[[:space:]]*//p' /proc/$$/status) && [ $((0x$mask >> 14 & 1)) = 0 ]
    do sleep 0.1; done
    kill -ALRM $PPID) >/dev/null 2>&1 & set -- "$@" --repeat 100;; esac"""
DIES = 'case "$*" in *"virtproof.pyz check"*) ip link set eth0 down; exit 1;; esac'

pytestmark = [
    *BUILDS,
    pytest.mark.fleet,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces"),
    pytest.mark.skipif(not os.path.exists(SSHD), reason="no sshd here (openssh-server)"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="no ip here (iproute2)"),
    pytest.mark.skipif(find_spec("ansible_runner") is None, reason="no ansible-runner here"),
]


@dataclass
class Asked:
    """What a fleet run left behind."""

    code: int
    out: Path
    said: str
    roll: Roll
    left: set[str]  # folders on the hosts

    def run(self, host: str) -> Run:
        return load_run((self.out / host / "run.json").read_bytes())

    def detail(self, host: str) -> str:
        (one,) = [one for one in self.roll.hosts if one.host == host]
        return one.detail


@pytest.fixture(scope="module")
def asked(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("hosts")
    folder.chmod(0o755)
    out = tmp_path_factory.mktemp("out") / "fleet"
    with Hosts(folder) as hosts, pytest.MonkeyPatch.context() as patch:
        hosts.add("good", "")
        hosts.add("old", OLD)
        hosts.add("bare", None)
        hosts.add("dies", DIES)
        hosts.add("errs", ERRS)
        hosts.add("breaks", BREAKS)
        hosts.add("late", LATE)
        hosts.add_nobody("away")
        hosts.wait()
        patch.chdir(folder)
        more = '{"virtproof_arguments": ["--area", "serial", "--workers", "1"]}'
        options = ["--", "--forks", "8", "--timeout", "5", "-e", more]
        inventory = str(hosts.inventory())
        before = folders()
        code = run(["fleet", "run", "-i", inventory, "--out", str(out), "--bundles", str(bundles), *options])
    said = "\n".join(file.read_text() for file in folder.glob("*.log"))
    left = folders() - before
    for name in left:
        shutil.rmtree(name)
    return Asked(code, out, said, roll.load(out / roll.FILE), left)


def folders() -> set[str]:
    """Where the role works on a host."""
    return {str(path.parent) for path in Path("/tmp").glob("virtproof-????????/virtproof*.pyz")}


def test_every_host_is_a_row(asked: Asked) -> None:
    assert {one.host: one.state for one in asked.roll.hosts} == {
        "good": State.CHECKED,
        "old": State.COLLECTED,
        "bare": State.FAILED,
        "dies": State.FAILED,
        "errs": State.CHECKED,
        "breaks": State.FAILED,
        "late": State.CHECKED,
        "away": State.UNREACHABLE,
    }, [one.detail for one in asked.roll.hosts] + [asked.said]
    assert asked.roll.complete
    assert asked.code == 4


def test_a_run_and_its_evidence_came_back(asked: Asked) -> None:
    made = asked.run("good")
    evidence = load_evidence((asked.out / "good" / "evidence.json.gz").read_bytes())
    assert made.outcome in {Outcome.NOT_COMPLIANT, Outcome.UNKNOWN}  # one area alone proves no host
    assert {case.area for case in evidence.cases} <= {"serial"}
    assert (asked.out / "good" / "report.html").stat().st_size > 10_000
    assert run(["verify", str(asked.out / "good")]) == 0


def test_an_old_python_gives_a_snapshot_that_is_judged_here_and_says_so(asked: Asked) -> None:
    made = asked.run("old")
    assert made.host.kernel == asked.run("good").host.kernel
    assert not made.counts
    assert "older than 3.11" in made.not_proven[0]
    assert "older than 3.11" in asked.detail("old")


def test_a_check_that_ends_in_an_error_loses_no_run(asked: Asked) -> None:
    assert asked.run("errs").counts == asked.run("good").counts
    assert asked.detail("errs") == "Run virtproof check: exit code 4: non-zero return code a case went wrong"
    assert run(["verify", str(asked.out / "errs")]) == 0


def test_a_check_that_takes_too_long_gives_what_was_done(asked: Asked) -> None:
    assert asked.run("late").outcome is Outcome.INTERRUPTED
    assert not asked.run("late").complete
    assert "it took longer than it may" in asked.detail("late")


def test_who_gives_no_run_says_why(asked: Asked) -> None:
    assert "needs Python 3.11 or newer" in asked.detail("bare")
    assert "The connection was lost at 'Run virtproof check'" in asked.detail("dies")
    assert "left no run: exit code 4: no space left" in asked.detail("breaks")
    assert "No route to host" in asked.detail("away") or "unreachable" in asked.detail("away").lower()
    assert {file.name for file in asked.out.iterdir()} == {
        *("good", "old", "errs", "late"),
        *("fleet.json", "fleet.html"),
    }
    page = (asked.out / "fleet.html").read_text()
    assert "needs Python 3.11" in page
    assert "older than 3.11" in page


def test_nothing_is_left_behind_on_hosts_that_answered(asked: Asked) -> None:
    assert len(asked.left) == 1, "that of the host that died"
