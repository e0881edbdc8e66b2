"""A bridge of the Linux kernel with TAP interfaces, in a network namespace that ends with this process.

Linux Documentation/networking/tuntap.rst, "Universal TUN/TAP device driver".  The kernel's own stack is at the bridge's
address: servers that guests are to talk to are started with ``bridge.call``.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from virtproof.spec.fault import Fault
from virtproof.vmm.events import After, EventLoop
from virtproof.vmm.network.inbox import BATCH, Inbox
from virtproof.vmm.network.namespace import Namespace
from virtproof.vmm.network.port import LONGEST, SHORTEST, Receive

if TYPE_CHECKING:
    from pyroute2 import IPRoute

DEVICE = "/dev/net/tun"
TUNSETIFF = 0x4004_54CA  # <linux/if_tun.h>
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
BRIDGE = "br0"

T = TypeVar("T")


class Bridge:
    """One bridge in a namespace of its own; a context manager.

    ``addresses`` are its own, as "10.0.2.1/24".  Raises Fault where the host does not permit it.

    >>> with Bridge(["10.0.2.1/24"]) as bridge:  # doctest: +SKIP
    ...     port = bridge.tap(machine.events, machine.after)
    """

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self._namespace = Namespace()
        self._taps: list[Tap] = []
        try:
            self._configure("make a bridge", lambda route: _make_bridge(route, addresses))
        except BaseException:
            self._namespace.close()
            raise

    def tap(self, events: EventLoop, after: After) -> "Tap":
        """Plug a new TAP interface in; ``events`` and ``after`` are those of the adapter's machine.  Raises Fault."""
        name = f"tap{len(self._taps)}"
        try:
            fd = self._namespace.call(lambda: _open_tap(name))
        except OSError as error:
            remedy = "run as root; without the device: modprobe tun"
            raise Fault(f"make a TAP interface through {DEVICE}", error.strerror or str(error), remedy) from error
        try:
            self._configure(f"plug {name} into the bridge", lambda route: _plug(route, name))
            tap = Tap(fd, events, after)
        except BaseException:
            os.close(fd)
            raise
        self._taps.append(tap)
        return tap

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the thread that is in the namespace (``Namespace.call``)."""
        return self._namespace.call(function)

    def close(self) -> None:
        for tap in self._taps:
            tap.close()
        self._namespace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _configure(self, tried: str, change: Callable[["IPRoute"], None]) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

        def configure() -> None:
            with IPRoute() as route:
                change(route)

        try:
            self._namespace.call(configure)
        except (NetlinkError, OSError) as error:
            raise Fault(tried, str(error), "run as root, with the kernel module bridge") from error


class Tap:
    """A TAP interface as a port; made by ``Bridge.tap``.

    ``dropped`` counts what the kernel did not take, and what the adapter had no room for.
    """

    def __init__(self, fd: int, events: EventLoop, after: After) -> None:
        self._fd, self._events = fd, events
        self._inbox = Inbox(after)
        self._lost = 0
        events.add_reader(fd, self._read)

    @property
    def dropped(self) -> int:
        return self._lost + self._inbox.dropped

    def send(self, frame: bytes) -> None:
        if not SHORTEST <= len(frame) <= LONGEST:
            return
        try:
            os.write(self._fd, frame)
        except OSError:  # its queue is full, the interface is down, or it is closed
            self._lost += 1

    def connect(self, receive: Receive) -> None:
        self._inbox.connect(receive)

    def ready(self) -> None:
        self._inbox.ready()

    def close(self) -> None:
        if self._fd >= 0:
            self._events.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            for _ in range(BATCH):
                self._inbox.put(os.read(self._fd, LONGEST))
        except BlockingIOError:
            pass
        except OSError:  # somebody took the interface away: a descriptor that fails would be readable for ever
            self._events.remove_reader(self._fd)


def _make_bridge(route: "IPRoute", addresses: Sequence[str]) -> None:
    route.link("add", ifname=BRIDGE, kind="bridge")
    index = _index(route, BRIDGE)
    for address in addresses:
        host, _, length = address.partition("/")
        route.addr("add", index=index, address=host, prefixlen=int(length))
    for name in ("lo", BRIDGE):
        route.link("set", index=_index(route, name), state="up")


def _plug(route: "IPRoute", name: str) -> None:
    route.link("set", index=_index(route, name), master=_index(route, BRIDGE), state="up")


def _index(route: "IPRoute", name: str) -> Any:
    return route.link_lookup(ifname=name)[0]


def _open_tap(name: str) -> int:
    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd
