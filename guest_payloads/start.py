"""What a program that boots without a monitor must know to start a trampoline: the variables of ``start.inc``."""

from __future__ import annotations

import struct

from virtproof.guest_payloads.images import Image
from virtproof.guest_payloads.trampoline import Mode, start_state
from virtproof.spec.x86.control import Cr0, Efer
from virtproof.spec.x86.descriptor import SegmentDescriptor
from virtproof.vmm.registers import Segment, SpecialRegisters

_PE = int(Cr0(0).but(pe=1))
_LMA = int(Efer(0).but(lma=1))  # the processor sets it


def variables(stub: Image, mode: Mode, image: Image) -> dict[int, bytes]:
    """The content of each variable by its address in ``stub``, which includes ``start.inc``."""
    state = start_state(mode, image, SpecialRegisters())
    words = {
        "start_cr0": state.cr0,
        "start_cr3": state.cr3,
        "start_cr4": state.cr4,
        "start_efer": state.efer & ~_LMA,
        "start_stack": image.symbols.get("walker_stack_top", 0) & 0xFFFF,  # a program has its own
        "start_far": image["entry"],
    }
    content = {stub[symbol]: struct.pack("<I", value) for symbol, value in words.items()}
    if state.cr0 & _PE:
        content[stub["start_gdt"] + 8] = _descriptor(state.cs) + _descriptor(state.ds)
    return content


def _descriptor(segment: Segment) -> bytes:
    """What loads a segment register so."""
    limit = segment.limit >> 12 if segment.g else segment.limit
    made = SegmentDescriptor.at(
        segment.base, limit,
        type=segment.type, s=segment.s, dpl=segment.dpl, p=segment.present,
        avl=segment.avl, l=segment.l, db=segment.db, g=segment.g,
    )  # fmt: skip
    return int(made).to_bytes(8, "little")
