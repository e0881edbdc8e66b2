"""Guest memory in pieces: what the scatter/gather lists of every controller come down to."""

from collections.abc import Callable, Sequence

Segment = tuple[int, int]  # guest-physical address, bytes


def gather(read: Callable[[int, int], bytes], segments: Sequence[Segment]) -> bytes:
    """Read them all; whoever made the list has bounded it."""
    if len(segments) == 1:
        return read(*segments[0])
    return b"".join(read(gpa, length) for gpa, length in segments)


def scatter(write: Callable[[int, memoryview], None], segments: Sequence[Segment], data: bytes) -> None:
    """Write ``data`` to the first of them, as far as it goes."""
    rest = memoryview(data)
    for gpa, length in segments:
        if not rest:
            return
        write(gpa, rest[:length])
        rest = rest[length:]
