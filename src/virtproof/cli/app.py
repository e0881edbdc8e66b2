"""``virtproof``: its commands, and the one place where an exception becomes an exit code.

Exit codes: 0 compliant, 3 not compliant, 4 our own error, 5 unknown beyond what the profile allows, 64 usage,
130 interrupted.  A command's function returns its code; ``None`` is 0.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword

import click

from virtproof import __version__
from virtproof.cli.nearest import did_you_mean
from virtproof.cli.screen import printable
from virtproof.spec.fault import Fault, unforeseen

USAGE = 64
OWN_ERROR = 4  # those of results.Outcome, which is slow to import
INTERRUPTED = 130

COMMANDS = (
    "check",
    "probe",
    "collect",
    "import",
    "guests",
    "guest",
    "cases",
    "bench",
    "judge",
    "report",
    "sign",
    "verify",
    "fleet",
    "lab",
    "image",
    "crosscheck",
    "qtest",
)


class Commands(click.Group):
    """Imports a command's module when the command is asked for: ``--version`` must not wait for the rest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = f"{name}_" if iskeyword(name) else name
        command = import_module(f"virtproof.cli.{module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"no command {args[0]!r}{did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="virtproof %(version)s")
@click.pass_context
def virtproof(ctx: click.Context) -> int | None:
    """Does hardware virtualization really work on this host, and if not, what exactly is wrong?

    Probes read what the host claims; small guests on virtproof's own KVM monitor prove it.

    \b
    Start here:
      virtproof check                 probe the host, run the guests, judge, write the reports
      virtproof check --help          everything it can be told

    \b
    Exit codes:
      0    compliant                  4    virtproof's own error, or the machine's
      3    not compliant              5    unknown: could not tell what the profile requires
      64   wrong usage                130  interrupted
    """
    if ctx.invoked_subcommand is None:
        # A gate that lost its arguments must not look like a compliant host.
        click.echo(ctx.get_help(), err=True)
        return USAGE
    return None


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; never raises an ``Exception``."""
    try:
        # Not click's own ``main``: it turns a closed pipe into exit code 1, which means nothing here.
        with virtproof.make_context("virtproof", list(args)) as ctx:
            code = virtproof.invoke(ctx)
        sys.stdout.flush()  # A full disk behind stdout is found here and not at interpreter exit.
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _tell("interrupted", INTERRUPTED)
    except click.UsageError as err:
        err.show()
        return USAGE
    except click.ClickException as err:
        return _tell(err.format_message(), OWN_ERROR)
    except Fault as fault:
        return _tell(str(fault), OWN_ERROR)
    except OSError as err:
        return _stdout_lost(err) if _is_about_stdout(err) else _our_bug()
    except Exception:
        return _our_bug()
    return code if isinstance(code, int) else 0


def _tell(text: str, code: int) -> int:
    click.echo(f"virtproof: {printable(text)}", err=True)
    return code


def _is_about_stdout(err: OSError) -> bool:
    """Files that we open ourselves carry their name, and their errors are faults already."""
    return err.filename is None and err.errno in {errno.EPIPE, errno.ENOSPC, errno.EIO}


def _stdout_lost(err: OSError) -> int:
    """Whoever reads our output must not take half of it for all of it; a closed pipe needs no words."""
    # The interpreter flushes stdout once more at exit, and would print its own complaint.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if err.errno != errno.EPIPE:
        _tell(f"write to standard output: {err.strerror}", OWN_ERROR)
    return OWN_ERROR


def _our_bug() -> int:
    """An exception nobody foresaw: one line for the person, the traceback for whoever mends it."""
    import tempfile
    import traceback

    if os.environ.get("VIRTPROOF_DEBUG"):
        traceback.print_exc()
        return OWN_ERROR
    error = sys.exception()
    assert error is not None
    text = f"this is a bug in virtproof: {unforeseen(error)}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="virtproof-traceback-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exc(file=file)
    except OSError:
        return _tell(f"{text}\n  to do: run it again with VIRTPROOF_DEBUG=1 and report what it prints", OWN_ERROR)
    return _tell(f"{text}\n  to do: report it with {file.name}", OWN_ERROR)
