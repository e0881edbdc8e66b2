"""ctrl-C as a person presses it: a real process on a real terminal, interrupted when it shows its progress."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# One case answers, the next hangs; with "stubborn" so does the end of the guests.  A forked worker holds the pipe
# whose end tells the test that no process is left.
PROGRAM = """
import signal, sys
from contextlib import contextmanager
from types import SimpleNamespace
from virtproof.cli import app
from virtproof.conformance import pool
from virtproof.conformance.execute import result_of
from virtproof.results import Backend, Verdict
from virtproof.vmm.engines import opening
from virtproof.vmm.worker import WorkerPool

def run_cases(cases, *, engine, workers):
    with WorkerPool(lambda case: signal.pause(), 1) as guests:
        try:
            yield result_of(cases[0], Verdict.PASS, "")
            next(guests.map(cases[1:], 3600))
        finally:
            if "stubborn" in sys.argv:
                print("STUBBORN", file=sys.stderr, flush=True)
                signal.pause()

@contextmanager
def open_engine(choice):
    yield SimpleNamespace(backend=Backend(engine="kvm", name="kvm_amd", software=False))

pool.run_cases = run_cases
opening.open_engine = open_engine
sys.exit(app.run(["check", "--out", sys.argv[1]]))
"""


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self.alive, theirs = os.pipe()
        self.screen, tty = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdin=tty,
            stdout=tty,
            stderr=tty,
            pass_fds=[theirs],
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(tty)
        self.shown = b""

    def wait_for(self, text: bytes) -> None:
        while text not in self.shown:
            self.shown += os.read(self.screen, 4096)  # OSError when the program ends without it

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> int:
        """Read on until the terminal is closed, and no process of the program is left."""
        try:
            while chunk := os.read(self.screen, 4096):
                self.shown += chunk
        except OSError:
            pass
        assert os.read(self.alive, 1) == b""
        return self.process.wait()


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    shown = Terminal(*arguments)
    try:
        yield shown
    finally:
        shown.process.kill()
        shown.process.wait()
        os.close(shown.screen)
        os.close(shown.alive)


def test_once_ends_the_guests_and_writes_what_was_done(tmp_path: Path) -> None:
    with terminal(str(tmp_path)) as program:
        program.wait_for(b"1/")
        program.press_ctrl_c()
        assert program.end() == 130
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["complete"] is False
    assert sum(sum(numbers.values()) for numbers in document["counts"].values()) == 1
    assert (tmp_path / "report.html").exists()


def test_twice_leaves_at_once_without_a_stray_process(tmp_path: Path) -> None:
    with terminal(str(tmp_path), "stubborn") as program:
        program.wait_for(b"1/")
        program.press_ctrl_c()
        program.wait_for(b"STUBBORN")
        program.press_ctrl_c()
        assert program.end() == 130
        assert program.shown.endswith(b"\x1b[?25h"), "the cursor stays hidden"
    assert list(tmp_path.iterdir()) == []
