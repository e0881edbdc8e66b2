"""``virtproof report``: an earlier run, shown again."""

from pathlib import Path

import click

from virtproof.cli.screen import say
from virtproof.results import Evidence
from virtproof.spec.fault import Fault


@click.command("report")
@click.argument("run", type=click.Path(exists=True, path_type=Path), metavar="RUN_DIR|run.json")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write an HTML report.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write JUnit XML.")
def command(run: Path, html: Path | None, junit: Path | None) -> None:
    """Show a finished run again: in words, or as HTML or JUnit files.

    Nothing is judged again; virtproof judge does that.  Where evidence.json.gz is beside run.json, the files hold
    every case, else only those that did not pass.

    \b
    Examples:
      virtproof report virtproof-report
      virtproof report virtproof-report --html host17.html --junit host17.xml

    Exit code 0 when it was shown, whatever the verdict.
    """
    from virtproof.results_json import load_evidence, load_run, write_atomically

    path = run / "run.json" if run.is_dir() else run
    loaded = load_run(read(path), str(path))
    beside = path.with_name("evidence.json.gz")
    evidence: Evidence | None = load_evidence(read(beside), str(beside)) if beside.exists() else None
    if html:
        from virtproof.reports.html import render_html

        write_atomically(html, render_html(loaded, evidence).encode())
        say(f"wrote {html}", err=True)
    if junit:
        from virtproof.reports.junit import render_junit

        write_atomically(junit, render_junit(loaded, evidence).encode())
        say(f"wrote {junit}", err=True)
    if not html and not junit:
        from virtproof.reports.text import render_text

        click.echo(render_text(loaded), nl=False)


def read(path: Path) -> bytes:
    """Return the content of ``path``; raises ``Fault``."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise Fault(f"read {path}", err.strerror or str(err), "name a run.json, or a folder that holds one") from err
