"""Build the validation image: the files that a boot server serves, and the ISO image."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from virtproof.lab import cache
from virtproof.lab.image import contents, iso, kernels
from virtproof.spec.fault import Fault

KERNEL, INITRD, ISO, SUMS = "vmlinuz", "initrd.img", "virtproof.iso", "SHA256SUMS"
ROOM = 256 << 20  # bytes: twice the initrd, the kernel, and the ISO image while it is made
EPOCH = 1_577_836_800  # 2020-01-01, where SOURCE_DATE_EPOCH says nothing


def build(folder: Path, *, kernel: str = kernels.DEFAULT, with_iso: bool = False, parameters: str = "") -> list[Path]:
    """Write the image into ``folder`` and return its files.

    ``kernel``: as in ``kernels.find``; ``parameters``: for the kernel's command line in the ISO image.  The same
    inputs and the same SOURCE_DATE_EPOCH give the same bytes.  Raises ``Fault``.
    """
    epoch = _epoch()
    if with_iso:
        iso.need()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < ROOM:
            raise Fault(f"write the image to {folder}", f"less than {ROOM >> 20} MiB are free", "free some space")
        chosen = kernels.find(kernel)
        files = [folder / KERNEL, folder / INITRD]
        shutil.copyfile(chosen.image, files[0])
        contents.write_initrd(chosen, files[1])
        if with_iso:
            files.append(folder / ISO)
            iso.build(files[0], files[1], parameters, files[2], epoch)
        else:
            (folder / ISO).unlink(missing_ok=True)  # one of an earlier build would not be what SHA256SUMS says
        sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in files)
        (folder / SUMS).write_text(sums, encoding="ascii")
    except OSError as err:
        raise cache.no_room(err, folder) from err
    return [*files, folder / SUMS]


def _epoch() -> int:
    """The date of everything: https://reproducible-builds.org/specs/source-date-epoch/."""
    text = os.environ.get("SOURCE_DATE_EPOCH", str(EPOCH))
    if not text.isdecimal() or not 315_532_800 <= int(text) < 1 << 32:  # FAT's dates start in 1980
        raise Fault(
            f"take the date SOURCE_DATE_EPOCH={text}",
            "it is no number of seconds since 1970, or not after 1980",
            "unset it",
        )
    return int(text)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
