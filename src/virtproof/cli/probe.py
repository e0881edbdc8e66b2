"""``virtproof probe``: what the host claims."""

import json

import click

from virtproof.cli import capabilities, inputs
from virtproof.cli.screen import say, table
from virtproof.results import ClaimResult, FactAnswer

SCHEMA = "virtproof.probe/1"


@click.command("probe")
@click.option(
    "--snapshot",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Answer from a snapshot (virtproof collect) and not from this host; - is standard input.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
@click.option("--vmx", "extension", flag_value="vmx", help="Show Intel VT-x instead: every capability, bit by bit.")
@click.option("--svm", "extension", flag_value="svm", help="Show AMD-V and SEV instead: every capability, bit by bit.")
def command(snapshot: str | None, as_json: bool, extension: str | None) -> None:
    """Show what the host claims: facts, and its features in four layers.

    A claim says of each layer (silicon, firmware, kernel, functional) whether the feature is there; where it is not,
    the cause and the remedy.  No guest is run: virtproof check proves what is claimed here.  "unknown" means that
    the host would not say, and why; it is never a no.

    \b
    Examples:
      sudo virtproof probe
      virtproof probe --json | jq .claims.vmx
      virtproof probe --snapshot host17.json
      sudo virtproof probe --vmx
    """
    from virtproof.probes.ask import ask, fact_answers
    from virtproof.probes.claims.catalogue import claims
    from virtproof.probes.collect import collect

    if extension and as_json:
        raise click.UsageError(f"--{extension} is a table for people; --json has the same as facts")
    found = inputs.recorded(snapshot).snapshot if snapshot else collect()
    if extension:
        for line in capabilities.lines(found, extension):
            say(line)
        return
    answers = ask(found)
    facts = fact_answers(answers)
    claimed = claims(answers)
    if as_json:
        document = {
            "schema": SCHEMA,
            "facts": {fact.id: answer(fact) for fact in facts},
            "claims": {claim.name: layers(claim) for claim in claimed},
        }
        click.echo(json.dumps(document, indent=1))
        return
    for line in table(("fact", "meaning", "value"), ((f.id, f.meaning, words(f)) for f in facts)):
        click.echo(line)
    say()
    header = ("claim", "silicon", "firmware", "kernel", "functional", "what stands in the way")
    rows = ((c.title, c.silicon, c.firmware, c.kernel, c.functional, c.cause_text) for c in claimed)
    for line in table(header, rows):
        click.echo(line)


def answer(fact: FactAnswer) -> dict[str, bool | int | str | None]:
    """Return ``{"known": value}`` or ``{"unknown": reason}``."""
    return {"known": fact.known} if fact.unknown is None else {"unknown": fact.unknown}


def words(fact: FactAnswer) -> str:
    """Return the answer for a reader: flags as yes and no."""
    match fact:
        case FactAnswer(unknown=str(reason)):
            return f"unknown: {reason}"
        case FactAnswer(known=bool(flag)):
            return "yes" if flag else "no"
        case _:
            return str(fact.known)


def layers(claim: ClaimResult) -> dict[str, str | None]:
    """Return a claim as a program wants it."""
    return {
        "silicon": claim.silicon,
        "firmware": claim.firmware,
        "kernel": claim.kernel,
        "functional": claim.functional,
        "cause": claim.cause,
        "remedy": claim.remedy,
    }
