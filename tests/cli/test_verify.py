"""``virtproof sign`` and ``virtproof verify``: whatever was changed, and whoever signed, is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtproof.cli.app import run
from virtproof.results_manifest import dump_manifest

FILES = {"run.json": b"{}\n", "evidence.json.gz": b"\x1f\x8b", "report.html": b"<!doctype html>"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    (made / "SHA256SUMS").write_text(dump_manifest(FILES))
    return made


def verify(folder: Path, *more: str) -> int:
    return run(["verify", str(folder), *more])


def test_an_unchanged_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder) == 0
    said = capsys.readouterr().out
    assert "3 files are as SHA256SUMS lists them" in said
    assert "nobody signed it" in said


def test_coreutils_read_the_manifest(folder: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)


def test_what_was_changed_or_is_missing_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run.json").write_bytes(b"{} \n")
    (folder / "report.html").unlink()
    (folder / "more\x1b[2J").touch()
    assert verify(folder) == 3
    said = capsys.readouterr().out
    assert said.splitlines()[:2] == ["run.json: changed", "report.html: missing"]
    assert "not listed, nothing speaks for them: more\\x1b[2J" in said


HASH = "0" * 64


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (None, "it is not there"),
        (b"", "it is empty"),
        (f"{HASH}  ../../etc/passwd\n".encode(), "line 1"),
        (f"{HASH}  /etc/passwd\n".encode(), "line 1"),
        (f"{HASH}  .hidden\n".encode(), "line 1"),
        (f"{HASH}  run.json\n{HASH}  run.json\n".encode(), "line 2 names run.json again"),
        (f"{HASH}  run.json".encode(), "does not end with a line"),
        (b"\xff\xfe\x00\n", "line 1"),
        (b"x" * (65 << 10), "larger than 64 KiB"),
    ],
)
def test_a_manifest_that_is_none(
    folder: Path, capsys: pytest.CaptureFixture[str], manifest: bytes | None, why: str
) -> None:
    (folder / "SHA256SUMS").unlink()
    if manifest is not None:
        (folder / "SHA256SUMS").write_bytes(manifest)
    assert verify(folder) == 4
    assert why in capsys.readouterr().err


def test_a_manifest_without_the_run_speaks_for_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "SHA256SUMS").write_text(dump_manifest({"report.html": FILES["report.html"]}))
    assert verify(folder) == 3
    assert "run.json: not listed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run.json", "SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.asc"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    path = folder / name
    content = path.read_bytes() if path.exists() else b"x"
    path.unlink(missing_ok=True)
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert verify(folder) == 4


def test_nobody_signs_what_was_changed(folder: Path, ssh_key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run.json").write_bytes(b"[]")
    assert run(["sign", str(folder), "--ssh-key", str(ssh_key)]) == 4
    assert "run.json: changed" in capsys.readouterr().err
    assert not (folder / "SHA256SUMS.sig").exists()


@pytest.mark.parametrize(
    "arguments",
    [["sign", "."], ["sign", ".", "--ssh-key", "no-such-file"], ["verify", ".", "--allowed-signers", "/dev/null"]],
)
def test_wrong_usage(folder: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert run(arguments) == 64


@pytest.fixture
def ssh_key(tmp_path: Path) -> Path:
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen on this machine")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "jane", "-f", str(key)], check=True)
    return key


def allowed(tmp_path: Path, key: Path) -> str:
    path = tmp_path / "allowed_signers"
    path.write_text(f"jane@example.org {key.with_suffix('.pub').read_text()}")
    return str(path)


def test_an_ssh_signature(
    folder: Path, ssh_key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # again, over the first
        assert run(["sign", str(folder), "--ssh-key", str(ssh_key)]) == 0
    signers = ["--allowed-signers", allowed(tmp_path, ssh_key)]
    assert verify(folder, *signers, "--signer", "jane@example.org") == 0
    assert "SHA256SUMS.sig: good" in capsys.readouterr().out
    assert verify(folder, *signers, "--signer", "john@example.org") == 3
    assert verify(folder) == 5, "a signature of nobody in particular"
    assert "whose key that is" in capsys.readouterr().out

    manifest = (folder / "SHA256SUMS").read_text()
    (folder / "run.json").write_bytes(b"{}")
    (folder / "SHA256SUMS").write_text(dump_manifest({**FILES, "run.json": b"{}"}))
    assert verify(folder, *signers, "--signer", "jane@example.org") == 3, "the manifest is not the one that was signed"
    assert verify(folder) == 3

    (folder / "run.json").write_bytes(FILES["run.json"])
    (folder / "SHA256SUMS").write_text(manifest)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert verify(folder, *signers, "--signer", "jane@example.org") == 5
    assert run(["sign", str(folder), "--ssh-key", str(ssh_key)]) == 4


def test_a_signature_for_another_purpose_does_not_count(folder: Path, ssh_key: Path, tmp_path: Path) -> None:
    manifest = folder / "SHA256SUMS"
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(ssh_key), str(manifest)], check=True)
    assert verify(folder, "--allowed-signers", allowed(tmp_path, ssh_key), "--signer", "jane@example.org") == 3


def test_a_signature_that_was_asked_for_and_is_not_there(folder: Path, ssh_key: Path, tmp_path: Path) -> None:
    assert verify(folder, "--allowed-signers", allowed(tmp_path, ssh_key), "--signer", "jane@example.org") == 3


@pytest.fixture
def gpg_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The fingerprint of a fresh key in a keyring of its own."""
    if not shutil.which("gpg"):
        pytest.skip("no gpg on this machine")
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    generate = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", "jane@example.org", "ed25519", "sign"]
    if subprocess.run(generate, capture_output=True, check=False).returncode:
        pytest.skip("gpg makes no key here")
    listed = subprocess.run(["gpg", "--with-colons", "--list-keys"], capture_output=True, text=True, check=True).stdout
    yield next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], capture_output=True, check=False)


def test_a_gpg_signature(
    folder: Path, gpg_key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        assert run(["sign", str(folder), "--gpg-key", gpg_key]) == 0
    assert verify(folder, "--signer", gpg_key) == 0
    assert verify(folder, "--signer", gpg_key.lower()) == 0
    assert f"made by {gpg_key}" in capsys.readouterr().out
    assert verify(folder, "--signer", gpg_key[-8:]) == 3, "a short id is no fingerprint"
    assert verify(folder, "--signer", "0" * 40) == 3
    assert verify(folder) == 5
    signature = folder / "SHA256SUMS.asc"
    good = signature.read_bytes()
    signature.write_bytes(b"nonsense")
    assert verify(folder, "--signer", gpg_key) == 3
    signature.write_bytes(good)
    revoke = next((tmp_path / "gnupg/openpgp-revocs.d").iterdir())
    certificate = revoke.read_text().replace(":-----BEGIN", "-----BEGIN")
    subprocess.run(["gpg", "--batch", "--import"], input=certificate.encode(), capture_output=True, check=True)
    assert verify(folder, "--signer", gpg_key) == 3, "the key was revoked"
    (tmp_path / "empty").mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "empty"))
    assert verify(folder, "--signer", gpg_key) == 5
    assert "nobody signed" not in capsys.readouterr().out


def test_a_key_that_is_not_there(folder: Path, gpg_key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sign", str(folder), "--gpg-key", "nobody@example.org"]) == 4
    assert "name a key that this user can sign with" in capsys.readouterr().err
