"""The request and the completion ring: VMware PVSCSI interface header (vmw_pvscsi.h), "PVSCSIRingsState"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from virtproof.spec import pvscsi

INDEX = 0xFFFF_FFFF


@dataclass(slots=True)
class Rings:
    """Where the rings are, and the indices that are the device's."""

    state: int  # guest-physical
    requests: tuple[int, ...]  # page by page
    completions: tuple[int, ...]
    consumed: int = 0
    produced: int = 0

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Rings:
        pages = tuple(map(int, state["requests"])), tuple(map(int, state["completions"]))
        if any(not is_ring(len(each)) for each in pages):
            raise ValueError("a ring of so many pages cannot be")
        return cls(int(state["state"]), *pages, int(state["consumed"]) & INDEX, int(state["produced"]) & INDEX)

    @property
    def request_entries(self) -> int:
        return len(self.requests) * pvscsi.REQUESTS_PER_PAGE

    @property
    def completion_entries(self) -> int:
        return len(self.completions) * pvscsi.COMPLETIONS_PER_PAGE

    def request(self) -> int:
        """Where the next request lies."""
        page, entry = divmod(self.consumed % self.request_entries, pvscsi.REQUESTS_PER_PAGE)
        return self.requests[page] + entry * pvscsi.REQUEST_SIZE

    def completion(self) -> int:
        """Where the next completion goes."""
        page, entry = divmod(self.produced % self.completion_entries, pvscsi.COMPLETIONS_PER_PAGE)
        return self.completions[page] + entry * pvscsi.COMPLETION_SIZE


def is_ring(pages: int) -> bool:
    """Indices are masked, so their number has to be a power of two."""
    return 0 < pages <= pvscsi.MAX_RING_PAGES and not pages & pages - 1
