"""``fleet report`` over thousands of made-up hosts: time and memory.

    python benchmarks/fleet.py [--hosts 10000] [--keep DIR] [--only-make]

The hosts are those of a few models with BIOS and microcode versions of their own; some are broken in the ways that
real ones are.  Each run.json is as large as those of real hosts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from virtproof.results import (
    Backend,
    CaseResult,
    Check,
    ClaimResult,
    Finding,
    Host,
    Layer,
    Outcome,
    Proof,
    Run,
    Standing,
    Verdict,
)
from virtproof.results_json import dump_run

MODELS = (
    ("Dell Inc. PowerEdge R7615", "AMD EPYC 9354 32-Core Processor", "kvm_amd", ("1.6.10", "1.7.2", "1.8.3")),
    ("HPE ProLiant DL360 Gen10", "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", "kvm_intel", ("U32 2.90", "U32 3.10")),
    ("Supermicro SYS-120C-TN10R", "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", "kvm_intel", ("1.4b", "1.8")),
    ("Lenovo ThinkSystem SR645 V3", "AMD EPYC 9124 16-Core Processor", "kvm_amd", ("KAE126J-5.10",)),
)
AREAS = ("traps", "paging", "interrupts", "mmio", "msr", "timers", "serial", "smp")
CLAIMS = tuple(f"claim_{number}" for number in range(37))
REQUIREMENTS = tuple(f"requirement-{number}" for number in range(24))
KERNELS = ("Linux 6.1.0-18-amd64", "Linux 6.1.0-21-amd64")
BROKEN = (  # share of hosts, requirement, cause, text, remedy
    (0.0214, "svm-usable", "firmware-off-svm",
     "SVM is present in silicon and off in firmware: VM_CR.SVMDIS = 1, locked",
     "In the firmware setup turn on SVM Mode (AMD-V), then switch the power off and on."),
    (0.011, "kvm-usable", "kernel-module-missing", "the kernel module kvm is not loaded", "modprobe kvm"),
    (0.004, "iommu", "iommu-not-announced", "the firmware hands over no DMAR table", "Turn on VT-d."),
    (0.02, "mitigated", "vulnerable", "the kernel calls this host vulnerable: spec_store_bypass", "Update microcode."),
)  # fmt: skip


def finding(name: str, standing: Standing = Standing.MET, **more: str) -> Finding:
    text = "CPUID 0x80000001 ECX[2] = 1 on CPUs 0-63; MSR 0xc0010114 = 0x0000000000000008 on CPUs 0-63"
    return Finding(
        id=name, title=f"What {name} asks for is there", severity="major", standing=standing, gates=True,
        evidence=(text, text[::-1]), cite=("AMD APM vol. 2, Secure Virtual Machine: 'Enabling SVM'",), **more,
    )  # fmt: skip


def claim(name: str) -> ClaimResult:
    yes = Layer.YES
    return ClaimResult(
        name=name, title=f"The feature {name}", silicon=yes, firmware=yes, kernel=yes, functional=yes, cause=None,
        evidence=("CPUID 0x80000001 ECX[2] = 1 on CPUs 0-63", "/sys/module/kvm_amd/parameters/npt = Y") * 3,
        proof=Proof.PROVEN, proof_reason="guests saw it work", proof_cases=("claim.svm.entry", "claim.svm.exit"),
        cite=("AMD APM vol. 2, Secure Virtual Machine: 'Enabling SVM'",),
    )  # fmt: skip


def failing(number: int) -> CaseResult:
    return CaseResult(
        id=f"trap.made_up.case_{number}.long64", area="traps", title="A made-up rule of the architecture holds",
        mode="long64", cite=("Intel SDM vol. 3A, Interrupt and Exception Handling: 'Exceptions'",),
        verdict=Verdict.FAIL,
        reason="the vector differs: expected 6 (#UD), observed 13 (#GP)", checks=(Check("vector", "6", "13", False),),
    )  # fmt: skip


def runs(hosts: int, seed: int = 7) -> Iterator[tuple[str, Run]]:
    """Made-up hosts and their runs; the same seed makes the same ones."""
    dice = random.Random(seed)
    claims = tuple(map(claim, CLAIMS))
    met = tuple(map(finding, (*REQUIREMENTS, *(row[1] for row in BROKEN))))
    for number in range(hosts):
        system, cpu, module, versions = MODELS[number % len(MODELS)]
        broken = [row for row in BROKEN if dice.random() < row[0]]
        bad = {
            name: finding(name, Standing.NOT_MET, cause=kind, cause_text=text, remedy="mend", remedy_text=remedy)
            for _, name, kind, text, remedy in broken
        }
        wrong = tuple(map(failing, range(dice.randint(1, 120)))) if dice.random() < 0.05 else ()
        outcome = Outcome.NOT_COMPLIANT if bad else Outcome.COMPLIANT
        odd = dice.random() < 0.003
        yield f"rack{number // 40:03}-{number % 40:02}", Run(
            version="0.1.0",
            started=f"2026-11-{1 + number % 20:02}T{number % 24:02}:00:00+00:00",
            seconds=61.5,
            complete=True,
            outcome=outcome,
            summary=f"Not compliant with kvm-host: {broken[0][3]}." if bad else "Compliant with kvm-host.",
            host=Host(
                vendor="AuthenticAMD" if module == "kvm_amd" else "GenuineIntel", cpu=cpu,
                family_model_stepping="25/17/1", cpus=64, microcode="0xa10113e" if not odd else "0xa101111",
                system=system, bios=f"{system.split()[0]} {dice.choice(versions)}",
                kernel=dice.choices(KERNELS, (30, 1))[0],
                boot_id=f"{dice.getrandbits(128):032x}",
            ),
            backend=Backend(engine="kvm", name=module, software=False, detail="/sys/module has it"),
            profile="kvm-host",
            profile_sha256="11" * 32,
            cases_sha256="22" * 32,
            findings=tuple(bad.get(one.id, one) for one in met),
            claims=(replace(claims[0], kernel=Layer.NO), *claims[1:]) if odd else claims,
            counts={area: {"pass": 250, "skip": 8} for area in AREAS} | {"traps": {"pass": 300, "fail": len(wrong)}},
            failing=wrong,
        )  # fmt: skip


def make(folder: Path, hosts: int) -> int:
    """Write the runs, a folder for each host; return their size in bytes."""
    size = 0
    for name, run in runs(hosts):
        target = folder / name / "run.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        size += target.write_text(dump_run(run))
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description="Time fleet report over made-up hosts.")
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep runs and reports there")
    parser.add_argument("--only-make", action="store_true", help="write the runs, and report nothing")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="virtproof-fleet-"))
    try:
        size = make(folder / "runs", options.hosts)
        print(f"{options.hosts} runs, {size / options.hosts / 1024:.0f} KiB each")
        if options.only_make:
            return
        script = [sys.executable, "-m", "virtproof", "fleet", "report", str(folder / "runs")]
        files = {name: folder / f"fleet.{name}" for name in ("html", "csv", "json")}
        before = time.monotonic()
        subprocess.run(
            [*script, "-o", str(files["html"]), "--csv", str(files["csv"]), "--json", str(files["json"])], check=True
        )
        seconds = time.monotonic() - before
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures = {
            "hosts": options.hosts,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "largest_process_mib": used.ru_maxrss // 1024,
            "cpus": len(os.sched_getaffinity(0)),
            **{f"{name}_kib": file.stat().st_size // 1024 for name, file in files.items()},
        }
        print(json.dumps(figures, indent=1))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
