"""Detached signatures of a manifest: made and checked by OpenSSH's ssh-keygen and GnuPG, never by code of ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from virtproof.results_manifest import MANIFEST
from virtproof.spec.fault import Fault

NAMESPACE = "virtproof"  # of ssh-keygen -Y: a signature made for another purpose does not count
SSH, GPG = f"{MANIFEST}.sig", f"{MANIFEST}.asc"


class Answer(StrEnum):
    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"  # nothing here says whose key it is, or the program is missing


@dataclass(frozen=True, slots=True)
class Signature:
    """What became of checking one signature."""

    file: str
    answer: Answer
    said: str


def sign_ssh(folder: Path, key: Path) -> Path:
    """Sign the manifest with an SSH key (a private key file, or a public one whose private half the agent has).

    Raises ``Fault``.
    """
    (folder / SSH).unlink(missing_ok=True)  # ssh-keygen asks before it overwrites
    _made("ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(folder / MANIFEST))
    return folder / SSH


def sign_gpg(folder: Path, key: str) -> Path:
    """Sign the manifest with a GnuPG key: its fingerprint, or what else gpg takes for a user id.  Raises ``Fault``."""
    _made("gpg", "--batch", "--yes", "--armor", "--local-user", key, "--output", str(folder / GPG),
          "--detach-sign", str(folder / MANIFEST))  # fmt: skip
    return folder / GPG


def check_ssh(folder: Path, allowed_signers: Path | None, signer: str | None) -> Signature:
    """Check the SSH signature by the keys that a file gives ``signer`` (ssh-keygen(1), ALLOWED SIGNERS)."""
    common = ("-n", NAMESPACE, "-s", str(folder / SSH))
    manifest = (folder / MANIFEST).read_bytes()
    known = allowed_signers and signer
    if known:
        ran = _ran("ssh-keygen", "-Y", "verify", *common, "-f", str(allowed_signers), "-I", str(signer), stdin=manifest)
    else:
        ran = _ran("ssh-keygen", "-Y", "check-novalidate", *common, stdin=manifest)
    if ran is None:
        return Signature(SSH, Answer.UNKNOWN, "ssh-keygen is not installed")
    if ran.returncode:
        return Signature(SSH, Answer.BAD, _words(ran))
    if known:
        return Signature(SSH, Answer.GOOD, _words(ran))
    return Signature(
        SSH, Answer.UNKNOWN, f"{_words(ran)}; whose key that is, --allowed-signers and --signer would tell"
    )


def check_gpg(folder: Path, signer: str | None) -> Signature:
    """Check the GnuPG signature by this user's keyring; ``signer`` is the whole fingerprint of a key or subkey.

    Document: GnuPG, doc/DETAILS, "Format of the --status-fd output".
    """
    ran = _ran("gpg", "--batch", "--status-fd", "1", "--verify", str(folder / GPG), str(folder / MANIFEST))
    if ran is None:
        return Signature(GPG, Answer.UNKNOWN, "gpg is not installed")
    status = ran.stdout.decode("utf-8", "replace")
    if ran.returncode:
        unknown = re.search(r"^\[GNUPG:\] NO_PUBKEY ", status, re.MULTILINE)
        return Signature(GPG, Answer.UNKNOWN if unknown else Answer.BAD, _words(ran))
    # The exit code is 0 for a key that was revoked or has expired, too; GOODSIG is said of neither.
    made = re.findall(
        r"^\[GNUPG:\] GOODSIG .*\n(?:.*\n)*?\[GNUPG:\] VALIDSIG (\w+) (?:\S+ )*(\w+)$", status, re.MULTILINE
    )
    if not made:
        return Signature(GPG, Answer.BAD, _words(ran))
    who = ", ".join(primary for _, primary in made)
    if not signer:
        return Signature(GPG, Answer.UNKNOWN, f"made by {who}; whether that is the right key, --signer would tell")
    if any(signer.replace(" ", "").upper() in keys for keys in made):
        return Signature(GPG, Answer.GOOD, f"made by {who}")
    return Signature(GPG, Answer.BAD, f"made by {who}, not by {signer}")


def _ran(program: str, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes] | None:
    """The program's end; None where it is not installed.  Without ``stdin`` it may ask the person who runs us."""
    found = shutil.which(program)
    return subprocess.run([found, *arguments], input=stdin, capture_output=True, check=False) if found else None


def _made(program: str, *arguments: str) -> None:
    tried = f"sign {MANIFEST} with {program}"
    ran = _ran(program, *arguments)
    if ran is None:
        raise Fault(tried, f"{program} is not installed", "install it, or sign where it is")
    if ran.returncode:
        raise Fault(tried, _words(ran), "name a key that this user can sign with")


def _words(ran: subprocess.CompletedProcess[bytes]) -> str:
    """What a program said, on one line; gpg's standard output is for programs."""
    said: Sequence[bytes] = (ran.stdout, ran.stderr) if ran.args[0].endswith("ssh-keygen") else (ran.stderr,)
    return " ".join(b" ".join(said).decode("utf-8", "replace").split())[:400] or f"exit code {ran.returncode}"
