"""The job files of docs/ci are what their CI systems take, and call virtproof as it is."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from virtproof.cli.check import command

FOLDER = Path(__file__).parents[2] / "docs" / "ci"
SCHEMAS = {"github-actions.yml": "vendor.github-workflows", "gitlab-ci.yml": "vendor.gitlab-ci"}


def refusals(file: Path, schema: str) -> list[str]:
    """What is wrong with a file by the schema that its CI system publishes, which the checker brings along."""
    script = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        "--output-format",
        "json",
        str(file),
    ]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert (done.returncode == 0) is (document["status"] == "ok"), done.stderr
    return [str(error) for error in document.get("errors", ())]


@pytest.mark.parametrize("name", SCHEMAS)
def test_it_fits_the_schema(name: str) -> None:
    assert refusals(FOLDER / name, SCHEMAS[name]) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("github-actions.yml", "runs-on:", "runs-in:"),
        ("github-actions.yml", "timeout-minutes: 30", "timeout-minutes: [soon]"),
        ("gitlab-ci.yml", "  script:", "  scrpit:"),
        ("gitlab-ci.yml", "when: always", "when: sometimes"),
    ],
)
def test_a_slip_would_be_found(name: str, old: str, new: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    assert refusals(tmp_path / name, SCHEMAS[name])


def nodes(groovy: bytes) -> Iterator[tuple[str, str]]:
    """Kind and text of every part of a Groovy program."""
    import tree_sitter
    import tree_sitter_groovy

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_groovy.language()))
    stack = [parser.parse(groovy).root_node]
    while stack:
        node = stack.pop()
        yield ("ERROR" if node.is_missing else node.type), (node.text or b"").decode()
        stack += node.children


def jenkins_mistakes(groovy: str) -> list[str]:
    """What a declarative pipeline cannot be without, and what is not Groovy."""
    found = [*nodes(groovy.encode())]
    broken = [f"not Groovy: {text[:40]!r}" for kind, text in found if kind == "ERROR"]
    texts = [text for _, text in found]
    words = ("pipeline", "agent", "stages", "stage", "steps")
    blocks = {word: re.compile(rf"{word}\s*(\([^)]*\)\s*)?{{") for word in words}
    return broken + [f"no {word}" for word, block in blocks.items() if not any(map(block.match, texts))]


def test_the_jenkinsfile_is_groovy_and_a_declarative_pipeline() -> None:
    assert jenkins_mistakes((FOLDER / "Jenkinsfile").read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("agent {", "agnet {"),
        ("steps {", "step {"),
        ("returnStatus: true", "returnStatus: "),
        ("(code == 5)", "(code == 5"),
        ("'kvm'", "'kvm"),
    ],
)
def test_a_slip_in_the_jenkinsfile_would_be_found(old: str, new: str) -> None:
    text = (FOLDER / "Jenkinsfile").read_text()
    assert old in text
    assert jenkins_mistakes(text.replace(old, new))


def calls() -> Iterator[list[str]]:
    """Every ``virtproof check`` of the job files, as words."""
    for file in FOLDER.iterdir():
        for found in re.finditer(r"virtproof (check [^'\n]*)", file.read_text()):
            yield shlex.split(found[1])


def test_they_call_virtproof_as_it_is() -> None:
    found = [*calls()]
    assert len(found) == 3
    for _, *arguments in found:
        command.make_context("check", arguments)  # raises click.UsageError
    with pytest.raises(click.UsageError):
        command.make_context("check", ["--gaet", "profile"])


def test_what_they_keep_is_what_check_writes() -> None:
    job = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())["virtproof"]
    from virtproof.cli.annotations import GITLAB_FILE

    assert job["artifacts"]["reports"] == {"junit": "report/junit.xml", "codequality": f"report/{GITLAB_FILE}"}
