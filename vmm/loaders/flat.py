"""A flat image: a boot sector that may be longer.  It lies at 7C00H and starts there in real mode, CS = 0, interrupts
off, SP below it.  There is no firmware to call.
"""

from __future__ import annotations

from virtproof.vmm import modes
from virtproof.vmm.loaders.image import Image, Kernel
from virtproof.vmm.loaders.layout import Layout
from virtproof.vmm.registers import Registers

START = 0x7C00
SIGNATURE, SIGNATURE_AT = b"\x55\xaa", 510


def is_flat(content: bytes) -> bool:
    """Does it look like a boot sector?  Any bytes may be a flat image, so no answer here is certain."""
    return content[SIGNATURE_AT : SIGNATURE_AT + 2] == SIGNATURE


def load(kernel: Kernel, ram: int) -> Image:
    kernel.refuse_extras("a flat image")
    if not kernel.content:
        raise kernel.refuse("the file is empty")
    layout = Layout(kernel, ram)
    layout.put(START, kernel.content, len(kernel.content), "image")
    return Image("flat", layout.pieces, Registers(rip=START, rsp=START), modes.real16)
