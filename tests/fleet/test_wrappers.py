"""What takes the bundle to hosts: the Ansible collection, the Kubernetes manifest, the MAAS script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from virtproof import __version__
from virtproof.cli.check import command
from virtproof.fleet import drive

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "fleet" / "kubernetes" / "virtproof.yaml"
SCRIPT = ROOT / "fleet" / "maas" / "90-virtproof.sh"
COLLECTION = ROOT / "fleet" / "ansible"
TASKS = COLLECTION / "roles" / "check" / "tasks"


def tasks(named: str) -> Iterator[dict[str, Any]]:
    """Every task of a file of the role, those of blocks among them."""
    for task in yaml.safe_load((TASKS / named).read_text()):
        yield task
        yield from (*task.get("block", ()), *task.get("always", ()))


def test_the_tasks_that_tell_what_came_back_are_there() -> None:
    names = {file.name: [task["name"] for task in tasks(file.name)] for file in TASKS.iterdir()}
    assert names["main.yml"][0] == drive.FIRST
    assert names["check.yml"][-1] == drive.CHECKED
    assert drive.ASKED in names["check.yml"]
    assert names["collect.yml"][-1] == drive.COLLECTED


def test_the_role_describes_its_variables() -> None:
    described = yaml.safe_load((COLLECTION / "roles/check/meta/argument_specs.yml").read_text())
    options = described["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((COLLECTION / "roles/check/defaults/main.yml").read_text())
    ours = {name: value for name, value in defaults.items() if name.startswith("virtproof_")}
    assert ours == {name: one["default"] for name, one in options.items() if "default" in one}
    used = set(re.findall(r"virtproof_\w+", "".join(file.read_text() for file in TASKS.iterdir())))
    assert options.keys() <= used


def test_the_role_becomes_root_for_everything_on_the_host() -> None:
    on_the_host = [task for task in tasks("main.yml") if "ansible.builtin.raw" in task or "block" in task]
    assert len(on_the_host) == 2
    assert all(task["become"] == "{{ virtproof_become }}" for task in on_the_host)


def test_the_collection_has_our_version() -> None:
    assert yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"] == __version__


def refusals(text: str) -> list[str]:
    """What Kubernetes would say against the documents."""
    import kubernetes_validate

    wrong = []
    for document in yaml.safe_load_all(text):
        try:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(error.message)
    return wrong


def test_kubernetes_takes_the_manifest() -> None:
    assert refusals(MANIFEST.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("nodeSelector:", "nodeSelecter:"), ("privileged: true", "privileged: sure"), ("path: /boot", "pfad: /boot")],
)
def test_a_slip_in_the_manifest_would_be_found(old: str, new: str) -> None:
    assert refusals(MANIFEST.read_text().replace(old, new))


def test_the_manifest_is_whole() -> None:
    """What a schema does not see: selectors that match, volumes that are there."""
    _, daemons = yaml.safe_load_all(MANIFEST.read_text())
    template = daemons["spec"]["template"]
    assert daemons["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    check, done = template["spec"]["initContainers"][0], template["spec"]["containers"][0]
    assert {mount["name"] for mount in check["volumeMounts"]} == volumes
    assert check["securityContext"] == {"privileged": True}
    assert "privileged" not in done["securityContext"]
    assert check["image"] == done["image"]


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (3, 0), (4, 0), (5, 0), (64, 1), (130, 1)])
def test_a_node_is_checked_again_where_no_run_was_made(tmp_path: Path, code: int, ends: int) -> None:
    _, daemons = yaml.safe_load_all(MANIFEST.read_text())
    check = daemons["spec"]["template"]["spec"]["initContainers"][0]
    (tmp_path / "python3").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "python3").chmod(0o755)
    here = {"PATH": f"{tmp_path}:/usr/bin:/bin", "NODE_NAME": "node"}
    assert subprocess.run([*check["command"], *check["args"]], env=here, check=False).returncode == ends


@pytest.mark.parametrize("file", [MANIFEST, SCRIPT], ids=lambda file: file.name)
def test_they_call_virtproof_as_it_is(file: Path) -> None:
    (found,) = re.findall(r'virtproof\.pyz"? check (.*)', file.read_text())
    command.make_context("check", found.replace('"', "").split())  # raises click.UsageError


def test_the_maas_script_is_clean_and_its_metadata_complete() -> None:
    subprocess.run([str(Path(sys.executable).with_name("shellcheck")), str(SCRIPT)], check=True)
    text = SCRIPT.read_text()
    inside = text.partition("# --- Start MAAS 1.0 script metadata ---\n")[2].partition("# --- End MAAS 1.0")[0]
    metadata = yaml.safe_load("\n".join(line.removeprefix("# ") for line in inside.splitlines()))
    assert metadata["name"] == SCRIPT.stem
    assert metadata["script_type"] in {"commissioning", "testing"}
    assert metadata["hardware_type"] in {"node", "cpu", "memory", "storage", "network"}
    assert metadata["parallel"] in {"disabled", "instance", "any"}
    fetched = {Path(one).name for one in metadata["packages"]["url"]}
    assert fetched == set(re.findall(r"virtproof[\w-]*\.pyz", text.partition("metadata ---\nset")[2]))
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize(
    ("version", "code", "verdict", "status", "ends"),
    [
        ((3, 12), 0, "compliant", "passed", 0),
        ((3, 12), 3, "not compliant", "failed", 1),
        ((3, 12), 5, "unknown", "degraded", 0),
        ((3, 12), 4, "no verdict", "failed", 1),
        ((3, 10), 0, "collected only", "degraded", 0),
        ((3, 10), 1, "no verdict", "failed", 1),
    ],
)
def test_the_maas_script_tells_the_verdict(
    tmp_path: Path, version: tuple[int, int], code: int, verdict: str, status: str, ends: int
) -> None:
    (tmp_path / "python3").write_text(
        f'#!/bin/sh\ncase "$*" in *version_info*) exit {int(version < (3, 11))};; *) echo "$@"; exit {code};; esac\n'
    )
    (tmp_path / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    for name in ("python3", "sudo"):
        (tmp_path / name).chmod(0o755)
    here = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RESULT_PATH": str(tmp_path / "result"), "DOWNLOAD_PATH": "/down"}
    done = subprocess.run(["bash", str(SCRIPT)], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == ends
    assert yaml.safe_load((tmp_path / "result").read_text()) == {"status": status, "results": {"verdict": verdict}}
    assert done.stdout.startswith("/down/virtproof" + ("-collect.pyz" if version < (3, 11) else ".pyz check"))
