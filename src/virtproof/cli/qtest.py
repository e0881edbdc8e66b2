"""``virtproof qtest``: the device models behind QEMU's qtest protocol, without a processor."""

from __future__ import annotations

import signal
import sys

import click


@click.command(
    "qtest",
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    },
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Speak QEMU's qtest protocol over virtproof's device models.

    The ARGUMENTS are QEMU's, as far as its test library uses them; docs/qtest.md lists them.  Without -qtest the
    commands come from standard input.

    \b
    Examples:
      echo "inl 0xcf8" | virtproof qtest
      virtproof qtest -device vmxnet3,addr=04.0 -qtest unix:/tmp/test.sock

    To run QEMU's own tests, give them a program whose name ends in -x86_64:

    \b
      printf '#!/bin/sh\\nexec virtproof qtest "$@"\\n' > virtproof-system-x86_64
      chmod +x virtproof-system-x86_64
      QTEST_QEMU_BINARY=./virtproof-system-x86_64 build/tests/qtest/qos-test
    """
    if arguments[:1] == ("-h",):  # not an option of click's: it would find one in -machine, too
        click.echo(ctx.get_help())
        return 0
    from virtproof.vmm.qtest.arguments import parse
    from virtproof.vmm.qtest.front import Front

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # how a test ends QEMU, which takes it for a good end
    parsed = parse(arguments)
    if not parsed.qtest:
        parsed.qtest = "stdio"
    front = Front(parsed)
    try:
        front.serve()
    finally:
        front.close()
    return 0
