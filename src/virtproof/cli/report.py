"""``virtproof report``: an earlier run, shown again."""

from pathlib import Path

import click

from virtproof.cli.outputs import output_options, write
from virtproof.cli.screen import say, show_report
from virtproof.results import Evidence
from virtproof.spec.fault import Fault


@click.command("report")
@click.argument("run", type=click.Path(exists=True, path_type=Path), metavar="RUN_DIR|run.json")
@output_options
def command(run: Path, **outputs: Path | None) -> None:
    """Show a finished run again: in words, or in files of the formats named; - is standard output.

    Nothing is judged again; virtproof judge does that.  Where evidence.json.gz is beside run.json, the files hold
    every case, else only those that did not pass.

    \b
    Examples:
      virtproof report virtproof-report
      virtproof report virtproof-report --html host17.html --junit host17.xml
      virtproof report virtproof-report --markdown - >> "$GITHUB_STEP_SUMMARY"
      virtproof report virtproof-report --prometheus /var/lib/node_exporter/textfile/virtproof.prom

    Exit code 0 when it was shown, whatever the verdict.
    """
    from virtproof.results_json import load_evidence, load_run

    path = run / "run.json" if run.is_dir() else run
    loaded = load_run(read(path), str(path))
    beside = path.with_name("evidence.json.gz")
    evidence: Evidence | None = load_evidence(read(beside), str(beside)) if beside.exists() else None
    for file in write(loaded, evidence, outputs):
        say(f"wrote {file}", err=True)
    if not any(outputs.values()):
        show_report(loaded)


def read(path: Path) -> bytes:
    """Return the content of ``path``; raises ``Fault``."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise Fault(f"read {path}", err.strerror or str(err), "name a run.json, or a folder that holds one") from err
