"""Variants of Bochs' BIOS: the two immediates and nothing else, and only in an image that is known."""

from __future__ import annotations

from hashlib import sha256

import pytest

from virtproof.lab.hosts import bios
from virtproof.lab.hosts.bios import OR_EAX_5_WRMSR, VARIANTS, patched
from virtproof.spec.fault import Fault

STOCK = bytes(0x10) + OR_EAX_5_WRMSR + bytes(0x10) + OR_EAX_5_WRMSR + bytes(0x10)
PLACES = (0x10, 0x25)


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(bios, "KNOWN", {sha256(STOCK).hexdigest(): PLACES})


@pytest.mark.parametrize(("variant", "value"), VARIANTS.items())
def test_only_the_values_change(known, variant, value):
    made = patched(STOCK, variant)
    changed = [at for at, (old, new) in enumerate(zip(STOCK, made, strict=True)) if old != new]
    assert changed == [at + 2 for at in PLACES]
    assert {made[at] for at in changed} == {value}


def test_an_image_that_nobody_looked_at_is_refused():
    with pytest.raises(Fault, match="none of those whose code is known") as fault:
        patched(STOCK, "locked-off")
    assert "lab/hosts/bios.py" in fault.value.remedy


def test_places_without_the_code_are_refused(monkeypatch):
    monkeypatch.setattr(bios, "KNOWN", {sha256(STOCK).hexdigest(): (0x11, 0x25)})
    with pytest.raises(Fault, match="none of those"):
        patched(STOCK, "unlocked")
