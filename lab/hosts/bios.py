"""Bochs' BIOS, changed in the value that it leaves in IA32_FEATURE_CONTROL (MSR 0x3A).

The BIOS sets the MSR twice, on the first processor and on each other one, by ``or eax, 5; wrmsr``; each variant has
another immediate there.  Intel SDM vol. 3C, Enabling and Entering VMX Operation: bit 0 locks, bit 2 is VMX outside SMX.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from virtproof.lab import cache, debian
from virtproof.spec.fault import Fault

IMAGE = "usr/share/bochs/BIOS-bochs-latest"
VARIANTS = {"locked-off": 1, "unlocked": 0}  # name -> the immediate

OR_EAX_5_WRMSR = bytes.fromhex("83c805 0f30")
_IMMEDIATE = 2  # its place in that code
# Images that were looked at, by hash -> where they have that code.
# fmt: off
KNOWN = {
    # Debian bochsbios 2.7+dfsg-4+deb12u1
    "920f0170ac61960e1fb8cbdbd7a8176b4238ea1b19619bf768bb076989a32614": (0x00065, 0x01b18),
}
# fmt: on


def image(variant: str) -> Path:
    """The BIOS with the variant of that name, the stock one where it is empty.  Raises ``Fault``."""
    stock = debian.unpacked("bochsbios") / IMAGE
    if not variant:
        return stock
    data = patched(stock.read_bytes(), variant)
    return cache.entry("bios", f"{variant}-{sha256(data).hexdigest()[:16]}", lambda path: _write(path, data))


def patched(stock: bytes, variant: str) -> bytes:
    """A copy of the image with the variant's value.  Raises ``Fault`` for an image that nobody looked at."""
    digest = sha256(stock).hexdigest()
    offsets = KNOWN.get(digest, ())
    if not offsets or any(stock[at : at + len(OR_EAX_5_WRMSR)] != OR_EAX_5_WRMSR for at in offsets):
        raise Fault(
            f"make the BIOS variant {variant}",
            f"the BIOS image (SHA-256 {digest[:16]}...) is none of those whose code is known",
            "install bochsbios 2.7+dfsg-4+deb12u1, or find the code in the new image and add it to lab/hosts/bios.py",
        )
    data = bytearray(stock)
    for at in offsets:
        data[at + _IMMEDIATE] = VARIANTS[variant]
    return bytes(data)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
