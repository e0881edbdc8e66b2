"""Unmodified memtest86+ tests our memory: its 64-bit image by the 64-bit entry, the other by that of 32 bits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.clients.conftest import BOOTS_IN, content
from tests.clients.pc import Client
from virtproof.vmm.engine import Engine
from virtproof.vmm.loaders import bzimage
from virtproof.vmm.loaders.image import Kernel

SECOND_TEST = "[Moving inversions"  # the first is over then, without an error


@pytest.mark.parametrize("bits", ["x64", "ia32"])
def test_it_tests_our_memory(engine: Engine, bits: str) -> None:
    image = content(Path(f"/boot/memtest86+{bits}.bin"), "memtest86+")
    with Client(engine, ram=8 << 20) as pc:
        pc.boot(bzimage.load(Kernel("memtest", image, b"console=ttyS0,115200"), pc.ram))
        end = time.monotonic() + BOOTS_IN
        while SECOND_TEST not in pc.text and time.monotonic() < end:
            pc.run(0.1)
        assert SECOND_TEST in pc.text, pc.text
        assert "Memtest86+ v" in pc.text
        assert "virtproof software processor" in pc.text
        assert "Errors: 0 " in pc.text
