"""The cases as pytest items, as a CI would run them: markers, -k, and pytest's own exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from virtproof.conformance.catalogue import all_cases


def items(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest over the cases in a folder of nobody's, as it is done where virtproof is installed."""
    script = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers"]
    paths = os.pathsep.join(sys.path)
    return subprocess.run(
        [*script, "--pyargs", "virtproof.conformance", *arguments],
        cwd="/",
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_markers_and_words_choose_cases() -> None:
    done = items("--collect-only", "-m", "serial and core", "-k", "lsr or ier")
    listed = {line.rpartition("/")[2].removesuffix("]") for line in done.stdout.splitlines() if line.endswith("]")}
    core = [case.id for case in all_cases() if case.area == "serial" and case.priority == 1]
    assert listed == {name for name in core if ".lsr" in name or ".ier" in name}
    assert 1 < len(listed) < len(core)


def test_an_engine_that_was_named_and_cannot_be_used_fails(tmp_path: Path) -> None:
    plugin = tmp_path / "nokvm.py"
    plugin.write_text(
        "import virtproof.vmm.engines.opening as opening\n"
        "def refuse(choice): raise opening.EngineUnavailable('open /dev/kvm', 'not here', 'load kvm_intel')\n"
        "opening.open_engine = refuse\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    chosen = ["-p", "nokvm", "-k", "serial.lsr"]
    skipped = items(*chosen, PYTHONPATH=paths, VIRTPROOF_ENGINE="")
    assert (skipped.returncode, "skipped" in skipped.stdout) == (0, True), skipped.stdout
    failed = items(*chosen, PYTHONPATH=paths, VIRTPROOF_ENGINE="kvm")
    assert failed.returncode == 1
    assert "open /dev/kvm: not here" in failed.stdout
