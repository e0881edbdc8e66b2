"""The options of ``virtproof collect --redfish``: firmware settings from the service processor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from virtproof.cli.screen import say
from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from virtproof.probes.sources.redfish_http import Service

PASSWORD = "VIRTPROOF_REDFISH_PASSWORD"
MAX_PASSWORD_FILE = 4096

Command = TypeVar("Command", bound=Callable[..., object])


class Options(TypedDict):
    """As ``options`` hands them to a command."""

    redfish: str | None
    user: str | None
    password_file: Path | None
    ca_file: Path | None


def options(command: Command) -> Command:
    """Add ``--redfish`` and what belongs to it.  The password is no option: every user can read the process list."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--ca-file", type=file, metavar="FILE", help="Whose certificates to trust there (PEM)."),
        click.option(
            "--password-file", type=file, metavar="FILE", help=f"Its password; else ${PASSWORD}, or it is asked for."
        ),
        click.option("--user", metavar="NAME", help="The user to read as there."),
        click.option(
            "--redfish",
            metavar="URL",
            help="Ask the host's service processor (https://BMC) for the firmware settings, too.",
        ),
    ):
        command = option(command)
    return command


def service(redfish: str | None, user: str | None, password_file: Path | None, ca_file: Path | None) -> Service | None:
    """Return the service that the options name.  Raises ``UsageError`` and ``Fault``."""
    if redfish is None:
        if user or password_file or ca_file:
            raise click.UsageError("--user, --password-file and --ca-file belong to --redfish")
        return None
    if not user:
        raise click.UsageError("--redfish needs --user")
    try:
        from virtproof.probes.sources.redfish_http import Service
    except ImportError as err:
        raise Fault("ask a Redfish service", f"no module {err.name}", "pip install 'virtproof[redfish]'") from err
    return Service(redfish, user, _password(password_file), str(ca_file) if ca_file else None)


def read(service: Service) -> dict[str, Any]:
    """Return the snapshot's section ``redfish``; what could not be read is in it, and told at once."""
    from virtproof.probes.sources import redfish
    from virtproof.probes.sources.redfish_http import getter

    section = redfish.read(getter(service), service.system)
    for entry in section["unread"]:
        say(f"virtproof: Redfish: {entry['reason']}", err=True)
    return section


def _password(file: Path | None) -> str:
    if file is not None:
        try:
            with file.open("rb") as opened:
                return opened.read(MAX_PASSWORD_FILE).decode().rstrip("\r\n")
        except (OSError, ValueError) as err:
            raise Fault(f"read the password in {file}", getattr(err, "strerror", None) or "it is not UTF-8") from err
    if (word := os.environ.get(PASSWORD)) is not None:
        return word
    text: str = click.prompt("Password of the Redfish user", hide_input=True, err=True)
    return text
