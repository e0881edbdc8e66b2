"""virtio-rng, which fills buffers with random bytes, and virtio-console: port 0 is a queue each way."""

from collections.abc import Iterable

from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Host
from virtproof.conformance.virtio import (
    BUFFER,
    IN,
    Rig,
    act,
    chain,
    console,
    content,
    data,
    family,
    into,
    isr,
    notify,
    offer,
    out,
    rng,
    seen,
    send,
    shown,
    start,
    used,
)
from virtproof.results import Check
from virtproof.spec.virtio_console import RECEIVE, TRANSMIT

entropy = family("virtio", "'Entropy Device', 'Device Operation'")
port = family("virtio", "'Console Device', 'Device Operation'")

ZEROS = 4  # so many in a row are a sign, at 2^-32 by accident


def filled(rig: Rig) -> Iterable[Check]:
    """Two buffers of 64 bytes: neither has a stretch of zeros, and they differ."""
    first, second = (rig.board.machine.memory.read(IN + BUFFER * n, 64) for n in (0, 1))
    for name, found in (("first", first), ("second", second)):
        yield Check(
            f"{name}, zeros in a row", f"less than {ZEROS}", str(bytes(ZEROS) in found), bytes(ZEROS) not in found
        )
    yield Check("they differ", "True", str(first != second), first != second)


TWO = (chain(0, 0, into(0, 64)), chain(0, 1, into(1, 64)))

# fmt: off
CASES: tuple[Case, ...] = (
    entropy("virtio.rng.fill",    "A request is filled with random bytes", rng, TWO, start(), send(0, 0), used(0, 0, 0, tuple(range(1, 65))), isr(1)),
    entropy("virtio.rng.entropy", "Two requests bring different bytes",    rng, TWO, start(), send(0, 0, 1), used(0, 1, 1, 64), Host(filled), priority=2),
    port("virtio.console.tx", "What the guest writes to port 0 reaches the host", console,
        data(0, b"hel"), data(1, b"lo\n"), chain(TRANSMIT, 0, out(0, 3), out(1, 3)), start(queues=2), send(TRANSMIT, 0), used(TRANSMIT, 0, 0, 0), seen("host", lambda rig: bytes(rig.end), b"hello\n"), priority=2),
    port("virtio.console.rx", "What the host sends arrives in buffers, or waits for them", console,
        chain(RECEIVE, 0, into(0, 4)), chain(RECEIVE, 1, into(1, 8)), start(queues=2), offer(RECEIVE, 0), notify(RECEIVE), shown(RECEIVE, 0), act(lambda rig: rig.device.receive(b"abcdefg")),
        used(RECEIVE, 0, 0, 4), content(0, b"abcd"), offer(RECEIVE, 1, at=1), notify(RECEIVE), used(RECEIVE, 1, 1, 3), content(1, b"efg"), isr(1), priority=2),
)
# fmt: on
