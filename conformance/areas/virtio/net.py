"""virtio-net: a header before each frame, receive buffers, the configuration, and the control queue.

The header has 12 bytes, or 10 for a legacy driver without MRG_RXBUF.  A received frame tells in it over how many buffers
it was spread: 1, unless MRG_RXBUF was taken.  What arrives and finds no buffers waits at the back end, which bounds that.
"""

import struct

from virtproof.conformance.areas.virtio.transport import legacy_send, legacy_start
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import Host, Load
from virtproof.conformance.packets import ACK, ETHER, HEADERS, IPV4, PSH, cut, tcp, without_checksum
from virtproof.conformance.virtio import (
    CONFIG,
    MAC,
    Rig,
    act,
    arrives,
    chain,
    content,
    data,
    done,
    elapse,
    family,
    into,
    isr,
    looped_net,
    net,
    notify,
    offer,
    out,
    seen,
    send,
    sent,
    shown,
    start,
    used,
)
from virtproof.spec.virtio_net import CONTROL, RECEIVE, TRANSMIT, Feature
from virtproof.vmm.network.inbox import FRAMES

layout = family("virtio", "'Network Device', 'Device configuration layout'")
transmission = family("virtio", "'Packet Transmission'")
reception = family("virtio", "'Processing of Incoming Packets'")
buffers = family("virtio", "'Setting Up Receive Buffers'")
control = family("virtio", "'Control Virtqueue'")
offload = family("virtio", "'Packet Transmission'")

OTHER = bytes.fromhex("525400445566")
FRAME = MAC + OTHER + b"\x08\x06" + bytes(range(46))
LARGE = MAC + OTHER + b"\x08\x00" + bytes(n * 7 & 0xFF for n in range(8986))
STREAM = bytes(n * 3 & 0xFF for n in range(3300))
HEADER = bytes(10) + b"\1\0"


def udp(checksum: str) -> bytes:
    """10.0.0.1:1000 to 10.0.0.2:2000, "hello!"; the checksum of the pseudo header alone is 1422H."""
    return (
        MAC
        + OTHER
        + bytes.fromhex(f"0800 45000022000000004011 66c9 0a000001 0a000002 03e8 07d0 000e {checksum} 68656c6c6f21")
    )


def asks(command: bytes, expect: int, at: int) -> tuple[object, ...]:
    """A command on the control queue, entry ``at``: what comes back."""
    place = at % 8
    return data(place, command), chain(CONTROL, 2 * place, out(place, len(command)), into(8 + place, 1)), send(CONTROL, 2 * place, at=at), content(8 + place, bytes([expect]))  # fmt: skip


def comes(frame: bytes, at: int, *, used: bool) -> tuple[object, ...]:
    """A frame arrives; it is let in as entry ``at`` of the used ring, or not."""
    return arrives(frame), shown(RECEIVE, at + used)


def to(address: str) -> bytes:
    return bytes.fromhex(address) + FRAME[6:]


CONTROLS = Feature.CTRL_VQ | Feature.CTRL_RX | Feature.CTRL_MAC_ADDR | Feature.CTRL_VLAN
RX = tuple(chain(RECEIVE, n, into(n % 8, 0x1000)) for n in range(8))


def flooded(rig: Rig) -> int:
    """Far more frames than a back end keeps, and no buffers: how many were lost."""
    for _ in range(3 * FRAMES):
        rig.end.send(FRAME)
        rig.elapse(1)
    return int(rig.end.dropped)


# fmt: off
CASES: tuple[Case, ...] = (
    layout("virtio.net.mac", "The configuration has the MAC address, byte by byte", net, *(Load(CONFIG + n, 1, byte) for n, byte in enumerate(MAC))),
    layout("virtio.net.status_link", "Bit 0 of the status follows the link, and nothing passes while it is down", net,
        data(0, HEADER + FRAME), chain(TRANSMIT, 0, out(0, 72)), RX, start(Feature.STATUS, queues=2), Load(CONFIG + 6, 2, 1), isr(0),
        act(lambda rig: rig.device.set_link(False)), isr(2), Load(CONFIG + 6, 2, 0), send(TRANSMIT, 0), sent(), offer(RECEIVE, 0), notify(RECEIVE), arrives(FRAME), shown(RECEIVE, 0), isr(1),
        act(lambda rig: rig.device.set_link(True)), isr(2), Load(CONFIG + 6, 2, 1), send(TRANSMIT, 0, at=1), sent(FRAME), arrives(FRAME), shown(RECEIVE, 1)),
    transmission("virtio.net.tx", "A header and a frame in two descriptors: the frame goes out as it is", net,
        data(0, bytes(12)), data(1, FRAME), chain(TRANSMIT, 3, out(0, 12), out(1, 60)), start(queues=2), send(TRANSMIT, 3), used(TRANSMIT, 0, 3, 0), sent(FRAME), isr(1)),
    transmission("virtio.net.hdr12", "The header has 12 bytes; for a legacy driver without MRG_RXBUF 10", net,
        data(0, bytes(12) + FRAME), chain(TRANSMIT, 0, out(0, 72)), start(queues=2), send(TRANSMIT, 0), sent(FRAME),
        data(1, bytes(10) + FRAME), legacy_start(), legacy_send(out(1, 0)[0], 70), sent(FRAME, FRAME)),
    reception("virtio.net.rx", "A frame arrives behind a header that says one buffer", net,
        chain(RECEIVE, 2, into(0, 12), into(1, 1514)), start(queues=2), offer(RECEIVE, 2), notify(RECEIVE), arrives(FRAME), done(RECEIVE, 1),
        used(RECEIVE, 0, 2, 72), content(0, HEADER), content(1, FRAME), isr(1)),
    reception("virtio.net.rx_mrg", "With MRG_RXBUF a large frame is spread over buffers", net,
        RX, start(Feature.MRG_RXBUF, queues=2), offer(RECEIVE, 0, 1), notify(RECEIVE), arrives(LARGE, taken=False), shown(RECEIVE, 0),
        offer(RECEIVE, 2, 3, at=2), notify(RECEIVE), arrives(LARGE), done(RECEIVE, 3), *(used(RECEIVE, n, n, length) for n, length in enumerate((4096, 4096, 9012 - 8192))),
        content(0, bytes(10) + b"\3\0" + LARGE[:52]), content(2, LARGE[8180:8244]), content(2, LARGE[-16:], 9012 - 8192 - 16), shown(RECEIVE, 3), priority=2),
    control("virtio.net.ctrl_rx", "The control queue takes known commands and refuses others", net,
        RX, start(CONTROLS, queues=3), offer(RECEIVE, *range(8)), notify(RECEIVE), comes(to("525400445566"), 0, used=True),
        asks(b"\0\0\0", 0, 0), comes(to("525400445566"), 1, used=False), comes(FRAME, 1, used=True), comes(to("ffffffffffff"), 2, used=True), comes(to("01005e000001"), 3, used=False),
        asks(b"\0\1\1", 0, 1), comes(to("01005e000001"), 3, used=True), asks(b"\x63\0\0", 1, 2), asks(b"\0\x63\1", 1, 3),
        asks(b"\1\0\1\0\0\0" + OTHER + bytes(4), 0, 4), comes(to("525400445566"), 4, used=True), asks(b"\1\1\2\0\0\0\0\1", 0, 5), Load(CONFIG, 1, 2), Load(CONFIG + 5, 1, 1),
        comes(FRAME, 5, used=False), comes(to("020000000001"), 5, used=True), priority=2),
    buffers("virtio.net.no_rx_buffers", "Frames without buffers wait or are dropped, in bounds; then they come", looped_net,
        RX, start(queues=2), seen("frames lost", flooded, 2 * FRAMES), shown(RECEIVE, 0), offer(RECEIVE, 0, 1, 2), notify(RECEIVE), elapse(1), shown(RECEIVE, 3)),
    offload("virtio.net.csum", "A checksum that the driver has left out is put in", net,
        data(0, b"\1\0\0\0\0\0\x22\0\6\0\0\0" + udp("1422")), chain(TRANSMIT, 0, out(0, 60)), start(Feature.CSUM, queues=2), send(TRANSMIT, 0),
        sent(udp("9c24"))),
    offload("virtio.net.tso", "A large TCP frame goes out as segments of the size that the driver names", net,
        data(0, struct.pack("<BBHHHHH", 1, 1, HEADERS, 1000, ETHER + IPV4, 16, 0) + without_checksum(tcp(STREAM, flags=PSH | ACK))), chain(TRANSMIT, 0, out(0, 12 + HEADERS + len(STREAM))),
        start(Feature.CSUM | Feature.HOST_TSO4, queues=2), send(TRANSMIT, 0), Host(lambda rig: cut(rig.end.sent, STREAM, 1000, PSH | ACK)), priority=2),
)
# fmt: on
