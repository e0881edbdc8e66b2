"""What ``virtproof --version`` costs: its time is in benchmarks/, here is the reason for it."""

import subprocess
import sys

import pytest

HEAVY = ("capstone", "cpuid", "cpuid_native", "jinja2", "junit_xml", "pyroute2", "pytest", "rich")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_heavy_packages_are_not_imported_to_say_who_we_are(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from virtproof.cli.app import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"print('imported:', *sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"
