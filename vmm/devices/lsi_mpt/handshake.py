"""Messages through the doorbell: a request dword by dword, its reply in halfwords.

LSI Fusion-MPT MPI 1.5 interface, "Doorbell" and "Handshake".  The doorbell interrupt announces each halfword and, after
the last, the end, also of a reply without one; writing HostInterruptStatus acknowledges it.  Replies may be read
without acknowledging either.
"""

from __future__ import annotations

from typing import Any

LARGEST = 255 * 4  # bytes of a request


class Handshake:
    """``active`` from its doorbell command until its end was acknowledged; ``interrupt`` is the doorbell's."""

    def __init__(self) -> None:
        self.interrupt = False
        self._missing = 0  # bytes of the request
        self._request = bytearray()
        self._reply: bytes | None = None
        self._at = 0

    @property
    def active(self) -> bool:
        return self._missing > 0 or self._reply is not None

    @property
    def wants_data(self) -> bool:
        """A write of the doorbell is the next dword."""
        return self._missing > 0

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def begin(self, dwords: int) -> None:
        """Await a request; one without a dword is none."""
        self.reset()
        self._missing = 4 * dwords
        self.interrupt = dwords > 0

    def put(self, dword: int) -> bytes | None:
        """Take the next dword; return the request when it is complete."""
        self._request += dword.to_bytes(4, "little")
        self._missing -= 4
        if self._missing:
            return None
        request = bytes(self._request)
        self.reset()
        return request

    def reply(self, data: bytes) -> None:
        self._reply, self._at, self.interrupt = data, 0, True

    def taken(self) -> None:
        """Tell that the request was taken; what there is to say of it comes through the reply FIFO."""
        self.interrupt = True

    def halfword(self) -> int:
        """Read on in the reply; behind its end are zeros."""
        if self._reply is None:
            return 0
        data = self._reply[self._at : self._at + 2]
        self._at = min(self._at + 2, len(self._reply))
        return int.from_bytes(data, "little")

    def acknowledge(self) -> None:
        """HostInterruptStatus was written."""
        if self._reply is None:
            self.interrupt = False
        elif self._at >= len(self._reply):
            self._reply, self._at = None, 0  # the interrupt announces the end now

    def state(self) -> list[Any]:
        reply = None if self._reply is None else self._reply.hex()
        return [self.interrupt, self._missing, self._request.hex(), reply, self._at]

    def restore(self, state: list[Any]) -> None:
        """Raises ValueError or TypeError for what no state is."""
        interrupt, missing, request, reply, at = state
        taken = bytearray.fromhex(request)
        given = None if reply is None else bytes.fromhex(reply)
        if missing % 4 or missing < 0 or missing + len(taken) > LARGEST or len(given or b"") > LARGEST:
            raise ValueError("a handshake that cannot be")
        if not 0 <= at <= len(given or b""):
            raise ValueError(f"{at} bytes of a reply were read")
        self.interrupt, self._missing, self._request = bool(interrupt), missing, taken
        self._reply, self._at = given, at
