"""``virtproof verify``: is a run's folder what was written, and who signed it?"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import click

from virtproof.cli.screen import say
from virtproof.results_manifest import LIMIT, MANIFEST, load_manifest
from virtproof.spec.fault import Fault

FILE_LIMIT = 1 << 30  # bytes
RUN = "run.json"
CHANGED, UNKNOWN = 3, 5  # exit codes


@click.command("verify")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN_DIR")
@click.option("--signer", metavar="WHO", help="Who must have signed: an identity of the file, or a GnuPG fingerprint.")
@click.option(
    "--allowed-signers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Whose SSH keys are whose: an ALLOWED SIGNERS file of ssh-keygen(1).",
)
def command(folder: Path, signer: str | None, allowed_signers: Path | None) -> int:
    """Hold the files of a finished run against its manifest, and the manifest against its signatures.

    Files that the manifest does not list are named: nothing speaks for them.

    \b
    Examples:
      virtproof verify virtproof-report
      virtproof verify virtproof-report --allowed-signers team.signers --signer jane@example.org
      virtproof verify virtproof-report --signer 0123456789ABCDEF0123456789ABCDEF01234567

    \b
    Exit codes:
      0    every file is as listed, and every signature good (there need be none unless --signer is given)
      3    a file is missing or changed, a signature is bad, or the one asked for is missing
      5    a signature is there and whose it is could not be told
      4    it could not be read
    """
    from virtproof.cli.signature import GPG, SSH, Answer, check_gpg, check_ssh

    if allowed_signers and not signer:
        raise click.UsageError("--allowed-signers tells whose keys are whose: --signer WHO says who must have signed")
    folder = folder.absolute()  # a name must not look like an option to gpg
    listed = listed_in(folder)
    wrong = differences(folder, listed)
    for line in wrong:
        say(line)
    if not wrong:
        say(f"{len(listed)} files are as {MANIFEST} lists them")
    others = sorted(os.listdir(folder) - listed.keys() - {MANIFEST, SSH, GPG})
    if others:
        say(f"not listed, nothing speaks for them: {', '.join(others[:20])}{', ...' * (len(others) > 20)}")
    signatures = []
    if _is_there(folder / SSH):
        signatures.append(check_ssh(folder, allowed_signers, signer))
    if _is_there(folder / GPG):
        signatures.append(check_gpg(folder, signer))
    for one in signatures:
        say(f"{one.file}: {one.answer}: {one.said}")
    if not signatures:
        say("nobody signed it")
    answers = {one.answer for one in signatures}
    if wrong or Answer.BAD in answers or (signer and not signatures):
        return CHANGED
    return UNKNOWN if Answer.UNKNOWN in answers else 0


def listed_in(folder: Path) -> dict[str, str]:
    """The manifest of ``folder``: file name -> SHA-256.  Raises ``Fault``."""
    try:
        data = _read(folder / MANIFEST, LIMIT)
    except FileNotFoundError:
        remedy = "name a folder that virtproof check wrote"
        raise Fault(f"read {folder / MANIFEST}", "it is not there", remedy) from None
    return load_manifest(data, str(folder / MANIFEST))


def differences(folder: Path, listed: Mapping[str, str]) -> list[str]:
    """What is not as listed, a line each.  Raises ``Fault`` where it cannot be read."""
    wrong = [] if RUN in listed else [f"{RUN}: not listed"]
    for name, digest in listed.items():
        try:
            found = hashlib.sha256(_read(folder / name, FILE_LIMIT)).hexdigest()
        except FileNotFoundError:
            wrong.append(f"{name}: missing")
        else:
            wrong += [] if found == digest else [f"{name}: changed"]
    return wrong


def _is_there(path: Path) -> bool:
    try:
        return bool(_read(path, LIMIT))
    except FileNotFoundError:
        return False


def _read(path: Path, limit: int) -> bytes:
    """A regular file's content; a link could lead anywhere, and a pipe would never end.

    Raises ``FileNotFoundError`` where nothing is there, else ``Fault``.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Fault(f"read {path}", "it is not a regular file", "get the folder again")
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise Fault(f"read {path}", err.strerror or str(err), "get the folder again") from None
    if len(data) > limit:
        raise Fault(f"read {path}", f"larger than {limit >> 10} KiB", "get the folder again")
    return data
