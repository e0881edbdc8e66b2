"""Damaged dumps: a snapshot that can be judged comes out, or ``Fault``."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.probes.imports.samples import SAMPLES
from virtproof.probes.ask import ask
from virtproof.probes.claims import claims
from virtproof.probes.imports.formats import FORMATS
from virtproof.probes.imports.merge import Dump, import_dumps
from virtproof.probes.snapshot import checked
from virtproof.spec.fault import Fault

EXAMPLES = int(os.environ.get("VIRTPROOF_FUZZ", "60"))  # of each test

MEAN = (
    b"", b"\0", b"\xff" * 8, b"\n", b"\r\n\r", b":", b"0x", b" 0x00000000 0x00: eax=", b"x" * 9000,
    b"CPU 8191:\n", b"CPU 99999999:\n", b"CPUID 00000000: ", b"MSR 0000003A: < FAILED >\n", b"DMAR @ 0x0\n",
    b"CPUID 80000000: FFFFFFFF-FFFFFFFF-FFFFFFFF-FFFFFFFF\n", b"------[ MSR Registers / Logical CPU #7 ]------\n",
    b"Group: 0xff Affinity mask: 0xffffffffffffffff\n", b"    0000: 00 00\n", b"_SM3_", b"\x7f\x04", b"\x00\x04",
    b"processor : 8192\n", b"processor\t: \xd9\xa3\n", b"On-line CPU(s) list: 0-8191\n",
    b"On-line CPU(s) list: 3-1\n", b"\xed\xa0\x80", b"\x1b[2J<script>&#0;",
)  # fmt: skip
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 64), st.sampled_from(MEAN) | st.binary(max_size=12)),
    min_size=1,
    max_size=6,
)


def damaged(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """``data`` with pieces cut out and others put in, at fractions of its length."""
    for where, cut, put in changes:
        at = int(where * len(data))
        data = data[:at] + put + data[at + cut :]
    return data


def take(dumps: list[bytes], form: str | None = None) -> None:
    try:
        snapshot = import_dumps([Dump("dump", data) for data in dumps], form)
    except Fault:
        return
    claims(ask(checked(dict(snapshot))))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=edits)
def test_a_damaged_dump(name: str, changes: list[tuple[float, int, bytes]]) -> None:
    take([damaged(SAMPLES[name], changes)], name)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(sorted(SAMPLES)), edits), min_size=1, max_size=4))
def test_damaged_dumps_united(parts: list[tuple[str, list[tuple[float, int, bytes]]]]) -> None:
    take([damaged(SAMPLES[name], changes) for name, changes in parts])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([None, *FORMATS]))
def test_any_bytes(data: bytes, form: str | None) -> None:
    take([data], form)
