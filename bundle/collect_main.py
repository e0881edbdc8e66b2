"""``virtproof collect`` alone: Python 3.9 and its standard library are enough.

python3 virtproof-collect.pyz [-o FILE] [--keep-identity]
"""

import sys

if sys.version_info < (3, 9):
    sys.exit("virtproof-collect: this needs Python 3.9 or newer (this is %d.%d)" % sys.version_info[:2])

import argparse
import ctypes
import dataclasses
import datetime
import enum
import functools
import os
import typing

DIGEST = "@DIGEST@"


def lend_what_is_missing():
    """Names of Python 3.10 and 3.11 that the collecting modules use."""
    if not hasattr(datetime, "UTC"):
        datetime.UTC = datetime.timezone.utc
    for name in ("Self", "TypeAlias"):
        if not hasattr(typing, name):
            setattr(typing, name, typing.Any)
    if not hasattr(ctypes, "LittleEndianUnion"):
        ctypes.LittleEndianUnion = ctypes.Union  # x86 is little-endian
    if not hasattr(enum, "StrEnum"):

        class StrEnum(str, enum.Enum):
            __str__ = str.__str__
            __format__ = str.__format__

        enum.StrEnum = StrEnum
    if sys.version_info < (3, 10):
        original = dataclasses.dataclass

        def dataclass(*arguments, slots=False, kw_only=False, **options):
            return original(*arguments, **options) if arguments else functools.partial(original, **options)

        dataclasses.dataclass = dataclass


def main():
    parser = argparse.ArgumentParser(
        prog="virtproof-collect", description="Write a snapshot of this host, for virtproof judge on another machine."
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE and not to standard output")
    parser.add_argument(
        "--keep-identity", action="store_true", help="keep serial numbers, UUID, hardware addresses, the host's name"
    )
    parser.add_argument("--version", action="version", version=f"virtproof-collect {DIGEST[:12]}")
    options = parser.parse_args()
    lend_what_is_missing()
    from virtproof.probes.collect import collect
    from virtproof.probes.snapshot import dumps, save
    from virtproof.spec.fault import Fault

    try:
        snapshot = collect(identity=options.keep_identity)
        if options.output:
            save(snapshot, options.output)
        else:
            sys.stdout.write(dumps(snapshot))
            sys.stdout.flush()
    except Fault as fault:
        sys.exit(f"virtproof-collect: {fault}")
    except OSError as error:
        if error.filename:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # a closed pipe: say nothing more at exit
        sys.exit(4)


main()
