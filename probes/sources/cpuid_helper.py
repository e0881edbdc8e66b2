"""CPUID through a program of 700 bytes that bundles carry (bundle/cpuid.c): no driver, no privilege, no C extension.

The program runs from memory, bound to the CPU that is asked; it answers pairs of leaf and subleaf that come through a
pipe.  Unlike ``cpuid_native`` it reaches the hypervisor's range.
"""

from __future__ import annotations

import os
import pkgutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from virtproof.probes.sources.cpuid import Leaf, ReadLeaf

FILE = "cpuid-helper"  # beside this module, where there is one
HOW = "static helper under sched_setaffinity"


@lru_cache(maxsize=1)
def program() -> bytes | None:
    """The program, ``None`` in an installation that does not carry it."""
    try:
        return pkgutil.get_data(__package__ or "", FILE)
    except OSError:
        return None


@contextmanager
def open_cpu(cpu: int) -> Iterator[ReadLeaf]:
    """Start the program on a CPU.  Raises OSError where it cannot run there."""
    data = program()
    if data is None:
        raise FileNotFoundError(2, "this installation carries no helper")
    memory = os.memfd_create(FILE)
    try:
        os.write(memory, data)
        started = subprocess.Popen(
            [f"/proc/self/fd/{memory}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, pass_fds=(memory,)
        )
    finally:
        os.close(memory)
    with started as process:
        assert process.stdin
        assert process.stdout
        question, answer = process.stdin, process.stdout
        os.sched_setaffinity(process.pid, {cpu})

        def read_leaf(leaf: int, sub: int) -> Leaf:
            question.write(struct.pack("<2I", leaf, sub))
            a, b, c, d = struct.unpack("<4I", _exactly(answer, 16))
            return a, b, c, d

        yield read_leaf


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = pipe.read(size - len(data))
        if not piece:
            raise OSError(5, "the helper ended")
        data += piece
    return data
