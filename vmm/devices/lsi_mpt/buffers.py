"""The scatter/gather lists of requests: simple elements, and chains to more of them."""

from __future__ import annotations

from collections.abc import Callable

from virtproof.spec import fusion_mpt as mpt
from virtproof.spec.fusion_mpt import Element, IocStatus
from virtproof.vmm.scsi.segments import Segment

LARGEST_LIST = 4096  # elements


class Refused(Exception):
    """A request ends with ``status`` before it reaches anybody."""

    def __init__(self, status: IocStatus) -> None:
        super().__init__(status)
        self.status = status


def segments(frame: bytes, at: int, length: int, read: Callable[[int, int], bytes]) -> list[Segment]:
    """Return where ``length`` bytes of data are, by the list at offset ``at`` of a frame.

    ``read`` gives guest memory, for chains.  Raises Refused for a list that is none, or ends too early.
    """
    found: list[Segment] = []
    for address, size in _elements(frame, at, read):
        if not length:
            break
        if size:
            found.append((address, min(size, length)))
            length -= found[-1][1]
    if length:
        raise Refused(IocStatus.INVALID_SGL)
    return found


def _elements(buffer: bytes, at: int, read: Callable[[int, int], bytes]) -> list[Segment]:
    found: list[Segment] = []
    chains = 0
    while len(found) < LARGEST_LIST:
        first = int.from_bytes(buffer[at : at + 4], "little")
        wide = bool(first >> 24 & Element.ADDRESS_64)
        end = at + (12 if wide else 8)
        if end > len(buffer):
            break
        address = int.from_bytes(buffer[at + 4 : end], "little")
        match first >> 24 & mpt.ELEMENT_TYPE:
            case Element.SIMPLE:
                found.append((address, first & 0xFF_FFFF))
                if first >> 24 & Element.END_OF_LIST:
                    return found
                at = end
            case Element.CHAIN if chains < mpt.MAX_CHAIN_DEPTH:
                chains += 1
                buffer, at = read(address, first & 0xFFFF), 0
            case _:
                break
    raise Refused(IocStatus.INVALID_SGL)
