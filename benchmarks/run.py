"""Measure what virtproof costs beside a C program that makes the same ioctls, both in one run.

    python benchmarks/run.py [--json FILE]

Repetitions alternate, each is compared with its neighbour, and the median of the ratios counts: a busy machine slows
both sides alike.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Any
from unittest.mock import patch

from virtproof.conformance import case
from virtproof.conformance.batch import SIZE, execute_batch
from virtproof.conformance.case import Insn, completes
from virtproof.conformance.execute import execute
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import Kvm, KvmUnavailable, identify_backend
from virtproof.results import Verdict
from virtproof.spec.cite import sdm
from virtproof.spec.fault import Fault
from virtproof.vmm import modes
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.exits import Halt, Interrupted
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

SOURCE = Path(__file__).with_name("baseline.c")
KERNEL = Path(__file__).with_name("kernel.S")
KERNEL_STATUS = 1
PORT, CODE = 0x510, 0x1000
ONCE, FOREVER = b"\xee\xf4", b"\xee\xeb\xfd"  # out %al, %dx; hlt -- out %al, %dx; jmp to it

LIVES = 200
EXIT_ROUNDS = 60
EXITS_PER_ROUND = 1000
COMMAND_ROUNDS = 7
BATCHES = 15
KVM_RUN = 0xAE80


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: microseconds, and the limit of ``ratio`` (or of ``ours``, where there is no reference)."""

    name: str
    ours: float | None = None
    reference: float | None = None
    ratio: float | None = None
    limit: float
    skipped: str = ""

    @property
    def met(self) -> bool | None:
        if self.ours is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.limit


class Port:
    """Counts writes, and stops the guest after the last one wanted."""

    def __init__(self, wanted: int, stop: Callable[[], None]) -> None:
        self.wanted, self.stop = wanted, stop

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.wanted -= 1
        if not self.wanted:
            self.stop()


def boot(engine: KvmEngine, code: bytes, writes: int) -> Machine:
    machine = Machine(engine)
    machine.memory.load(CODE, code)
    machine.vcpu.set_special_registers(modes.real16(machine.vcpu.special_registers()))
    machine.vcpu.set_registers(Registers(rip=CODE, rdx=PORT))
    machine.bus.add_ports(PORT, 1, Port(writes, machine.stop), "answer", width=1)
    return machine


def our_life(engine: KvmEngine) -> int:
    """Return the nanoseconds of one machine from creation through OUT and HLT to teardown."""
    start = perf_counter_ns()
    with boot(engine, ONCE, writes=-1) as machine:
        stopped = machine.run(10)
    taken = perf_counter_ns() - start
    if stopped != Halt():
        raise Fault("run the guest of the benchmark", str(stopped))
    return taken


def our_row(engine: KvmEngine) -> int:
    """Return the nanoseconds of one row case alone, its guest's share included."""
    start = perf_counter_ns()
    result = execute(nops(1)[0], engine)
    taken = perf_counter_ns() - start
    if result.verdict is not Verdict.PASS:
        raise Fault("run a row of the benchmark", result.reason)
    return taken


def nops(count: int) -> tuple[case.Row, ...]:
    """Rows that do as little as a row can."""
    cite = (sdm("3A", "Interrupt and Exception Handling"),)
    return tuple(
        case.Row(
            id=str(n),
            title="NOP",
            area="traps",
            mode=Mode.LONG64,
            cite=cite,
            code=(Insn("90", "nop"),),
            expect=completes(),
        )
        for n in range(count)
    )


def our_exits(engine: KvmEngine, count: int) -> int:
    """Return the nanoseconds of ``count`` round trips of OUT."""
    with boot(engine, FOREVER, writes=count) as machine:
        start = perf_counter_ns()
        stopped = machine.run(60)
        taken = perf_counter_ns() - start
    if stopped != Interrupted():
        raise Fault("run the guest of the benchmark", str(stopped))
    return taken


def compile_(source: Path, program: str, *arguments: str) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Fault(f"build {source.name}", "no C compiler", "install gcc and linux-libc-dev")
    built = subprocess.run([compiler, *arguments, "-o", program, source], capture_output=True, text=True, check=False)
    if built.returncode:
        raise Fault(f"build {source.name}", built.stderr.strip(), "install linux-libc-dev")


@contextmanager
def baseline() -> Iterator[Callable[[int], int]]:
    """Build and start the C program; yield a function that sends it a number and returns its answer."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/baseline"
        compile_(SOURCE, program, "-O2", "-Wall")
        with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def ask(number: int) -> int:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    raise Fault("run the C program", f"it ended with status {process.wait()}")
                return int(answer)

            yield ask


def against_c() -> list[Row]:
    """Measure the life of a VM and the PIO round trip, ours and in C."""
    names = "life of a bare VM", "PIO round trip", "row alone, less 1 ms"
    limits = 1.5, 1.15, 2.0
    try:
        with baseline() as c, Kvm.open() as kvm:
            engine = KvmEngine(kvm)
            our_life(engine)  # imports, page faults and caches are not what is measured
            lives = [(our_life(engine), c(0)) for _ in range(LIVES)]
            exits = [(our_exits(engine, EXITS_PER_ROUND), c(EXITS_PER_ROUND)) for _ in range(EXIT_ROUNDS)]
            alone = [(our_row(engine) - 1_000_000, c(0)) for _ in range(LIVES)]
    except KvmUnavailable as fault:
        return [Row(name=name, limit=limit, skipped=fault.saw) for name, limit in zip(names, limits, strict=True)]
    except Fault as fault:
        return [Row(name=name, limit=limit, skipped=str(fault)) for name, limit in zip(names, limits, strict=True)]
    rows = []
    for name, limit, pairs, count in zip(names, limits, (lives, exits, alone), (1, EXITS_PER_ROUND, 1), strict=True):
        ours, reference = (median(side) / count / 1000 for side in zip(*pairs, strict=True))
        ratio = median(mine / its for mine, its in pairs)
        rows.append(Row(name=name, ours=ours, reference=reference, ratio=ratio, limit=limit))
    return rows


def rows_of_a_batch() -> Row:
    """Measure what a row case in a batch costs beyond its guest: processor time outside KVM_RUN."""
    name = "row in a batch"
    rows = nops(SIZE)
    inside = 0
    ioctl = fcntl.ioctl

    def timed(fd: int, request: int, argument: Any = 0, mutate: bool = True) -> Any:
        nonlocal inside
        start = thread_time_ns()
        try:
            return ioctl(fd, request, argument, mutate)
        finally:
            if request == KVM_RUN:
                inside += thread_time_ns() - start

    costs = []
    try:
        with Kvm.open() as kvm:
            engine = KvmEngine(kvm)
            execute_batch(rows, engine)
            for _ in range(BATCHES):
                inside = 0
                with patch.object(fcntl, "ioctl", timed):
                    start = thread_time_ns()
                    done = execute_batch(rows, engine)
                    costs.append(thread_time_ns() - start - inside)
                if len(done) != len(rows):
                    raise Fault("run the rows of the benchmark", f"{len(rows) - len(done)} of {len(rows)} did not pass")
    except Fault as fault:
        return Row(name=name, limit=200, skipped=fault.saw)
    return Row(name=name, ours=median(costs) / len(rows) / 1000, limit=200)


def kernel(seconds: float) -> Row:
    """Measure ``virtproof guest`` from its start to its exit, with a kernel that does nothing but leave."""
    name = "virtproof guest"
    try:
        with Kvm.open(), tempfile.TemporaryDirectory() as folder:
            program = f"{folder}/kernel"
            layout = ("-nostdlib", "-static", "-no-pie", "-Wl,-n,--build-id=none,-Ttext-segment=0x100000")
            compile_(KERNEL, program, "-m32", *layout)
            return command(["guest", program], seconds, name=name, statuses={KERNEL_STATUS})
    except Fault as fault:
        return Row(name=name, limit=seconds * 1e6, skipped=str(fault))


def command(
    arguments: list[str], seconds: float, *, name: str = "", statuses: Container[int] = frozenset({0, 3, 5})
) -> Row:
    """Measure a command of virtproof, which is to end with one of ``statuses``, against an absolute limit."""
    name = name or "virtproof " + " ".join(arguments)
    times = []
    for _ in range(COMMAND_ROUNDS):
        start = perf_counter_ns()
        done = subprocess.run(
            [sys.executable, "-m", "virtproof", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        times.append(perf_counter_ns() - start)
        if done.returncode not in statuses:
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            return Row(name=name, limit=seconds * 1e6, skipped=reason[0])
    return Row(name=name, ours=median(times) / 1000, limit=seconds * 1e6)


def table(rows: list[Row]) -> str:
    lines = [f"{'':20} {'ours':>12} {'C':>12} {'ratio':>7} {'limit':>10}"]
    for row in rows:
        limit = f"{row.limit:g}x" if row.reference or row.limit < 100 else f"{row.limit / 1000:g} ms"
        if row.ours is None:
            lines.append(f"{row.name:20} skipped: {row.skipped}")
            continue
        reference = f"{row.reference:.1f} us" if row.reference else ""
        ratio = f"{row.ratio:.2f}" if row.ratio else ""
        verdict = "met" if row.met else "NOT MET"
        lines.append(f"{row.name:20} {row.ours:9.1f} us {reference:>12} {ratio:>7} {limit:>10}  {verdict}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the rows to FILE")
    arguments = parser.parse_args()
    rows = [*against_c(), rows_of_a_batch()]
    rows += [command(["--version"], 0.15), command(["probe"], 0.5), kernel(0.12)]
    print(f"backend: {identify_backend().name}, Python {sys.version.split()[0]}")
    print(table(rows))
    if arguments.json:
        found = [asdict(row) | {"met": row.met} for row in rows]
        arguments.json.write_text(json.dumps({"unit": "microseconds", "rows": found}, indent=2) + "\n")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
