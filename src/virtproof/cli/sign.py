"""``virtproof sign``: somebody answers for a run."""

from pathlib import Path

import click

from virtproof.cli.screen import say
from virtproof.results_manifest import MANIFEST


@click.command("sign")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN_DIR")
@click.option(
    "--ssh-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Sign with this SSH key; a public one, where ssh-agent has the private half.",
)
@click.option("--gpg-key", metavar="ID", help="Sign with this GnuPG key.")
def command(folder: Path, ssh_key: Path | None, gpg_key: str | None) -> None:
    """Sign the manifest of a finished run: SHA256SUMS.sig with an SSH key, SHA256SUMS.asc with a GnuPG key.

    The files are checked against the manifest first: nobody signs what was changed meanwhile.

    \b
    Examples:
      virtproof sign virtproof-report --ssh-key ~/.ssh/id_ed25519
      virtproof sign virtproof-report --gpg-key acceptance@example.org
    """
    from virtproof.cli.signature import sign_gpg, sign_ssh
    from virtproof.cli.verify import differences, listed_in
    from virtproof.spec.fault import Fault

    if not ssh_key and not gpg_key:
        raise click.UsageError("say what to sign with: --ssh-key FILE or --gpg-key ID")
    folder = folder.absolute()  # a name must not look like an option to gpg
    if wrong := differences(folder, listed_in(folder)):
        raise Fault(f"sign {folder / MANIFEST}", wrong[0], "get the folder again as virtproof check wrote it")
    if ssh_key:
        say(f"wrote {sign_ssh(folder, ssh_key)}", err=True)
    if gpg_key:
        say(f"wrote {sign_gpg(folder, gpg_key)}", err=True)
