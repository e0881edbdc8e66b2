"""The far end of a network adapter's cable, for cases: what was sent, and a way to send."""

from __future__ import annotations

from collections.abc import Iterator

from virtproof.results import Check
from virtproof.vmm.network.port import Receive

KEPT = 4096  # frames


class Cable:
    """A port that keeps what an adapter sends, and counts how often it has said that there is room again."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.readies = 0
        self.receive: Receive = lambda frame: True

    def send(self, frame: bytes) -> None:
        if len(self.sent) < KEPT:
            self.sent.append(frame)

    def connect(self, receive: Receive) -> None:
        self.receive = receive

    def ready(self) -> None:
        self.readies += 1

    def checks(self, *expected: bytes) -> Iterator[Check]:
        """Were exactly these frames sent?"""
        yield Check("frames sent", str(len(expected)), str(len(self.sent)), len(expected) == len(self.sent))
        for number, (want, saw) in enumerate(zip(expected, self.sent, strict=False)):
            yield Check(f"frame {number}", *_shown(want, saw), want == saw)


def _shown(want: bytes, saw: bytes) -> tuple[str, str]:
    """Both, from where they differ, or what fits on a line."""
    at = next((n for n, (a, b) in enumerate(zip(want, saw, strict=False)) if a != b), min(len(want), len(saw)))
    at = max(0, at - 4) if want != saw else 0
    return tuple(f"{len(each)} bytes, from {at}: {each[at : at + 24].hex()}" for each in (want, saw))  # type: ignore[return-value]
