"""Real interfaces of the Linux kernel; skipped with the reason where the host does not permit them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vmm.network.conftest import Adapter
from virtproof.spec.fault import Fault
from virtproof.vmm.events import EventLoop
from virtproof.vmm.network import namespace, tap
from virtproof.vmm.network.namespace import Namespace
from virtproof.vmm.network.tap import Bridge

MAC, HOST, GUEST = b"\x02\0\0\0\0\x42", bytes((10, 99, 7, 1)), bytes((10, 99, 7, 2))
SECOND = 1_000_000_000


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    try:
        with Bridge(["10.99.7.1/24"]) as bridge:
            yield bridge
    except Fault as fault:
        pytest.skip(str(fault))


def arp_request() -> bytes:
    body = bytes.fromhex("0001 0800 06 04 0001") + MAC + GUEST + bytes(6) + HOST
    return (b"\xff" * 6 + MAC + b"\x08\x06" + body).ljust(60, b"\0")


def answers(adapter: Adapter) -> list[bytes]:
    """ARP replies; the kernel says more of its own accord."""
    return [one for one in adapter.received if one[12:14] == b"\x08\x06" and one[20:22] == b"\0\2"]


def wait_for(loop: EventLoop, happened) -> None:
    for _ in range(100):
        if happened():
            return
        loop.poll(SECOND // 10)
    pytest.fail("nothing came within 10 seconds")


def test_the_kernel_answers_behind_the_bridge(bridge: Bridge) -> None:
    with EventLoop() as loop:
        adapter = Adapter(bridge.tap(loop, loop.after))
        adapter.port.send(arp_request())
        wait_for(loop, lambda: answers(adapter))
        assert answers(adapter)[0][28:32] == HOST
        assert answers(adapter)[0][:6] == MAC


def test_two_interfaces_hear_each_other(bridge: Bridge) -> None:
    with EventLoop() as loop:
        one, two = (Adapter(bridge.tap(loop, loop.after)) for _ in range(2))
        hello = (b"\xff" * 6 + MAC + b"\x88\xb5hello").ljust(60, b"\0")
        one.port.send(hello)
        wait_for(loop, lambda: hello in two.received)


def test_servers_belong_to_the_namespace(bridge: Bridge) -> None:
    def serve() -> tuple[str, int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("10.99.7.1", 0))
            return server.getsockname()

    assert bridge.call(serve)[0] == "10.99.7.1"
    with pytest.raises(OSError, match="assign"):
        serve()


def test_a_closed_interface_says_nothing(bridge: Bridge) -> None:
    with EventLoop() as loop:
        port = bridge.tap(loop, loop.after)
        port.send(b"")
        assert port.dropped == 0
        port.close()
        port.close()
        port.send(arp_request())
        assert port.dropped == 1
        assert not loop.reading


CHILD = """
import sys
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from virtproof.vmm.network.tap import Bridge

with Bridge() as bridge:
    with IPRoute() as outside:
        try:
            outside.link("add", ifname="ours", kind="veth", peer={"ifname": "theirs"})
        except NetlinkError as error:
            sys.exit(print("no veth:", error))
        index = outside.link_lookup(ifname="theirs")[0]
        with bridge.call(lambda: open("/proc/thread-self/ns/net")) as inside:
            outside.link("set", index=index, net_ns_fd=inside.fileno())
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_namespace_dies_with_the_process() -> None:
    """One end of a cable is put into the child's namespace: when that is gone, so is the end that we see."""
    import time

    from pyroute2 import IPRoute

    source = str(Path(namespace.__file__).resolve().parents[3])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def links() -> list[str]:
        with IPRoute() as route:
            return [link.get("ifname") for link in route.get_links()]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=-1, stdout=-1, text=True, env=environment, cwd=source
        )

    try:
        arena = Namespace()
    except Fault as fault:
        pytest.skip(str(fault))
    with arena, arena.call(start) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        if said.startswith("no veth"):
            pytest.skip(said)
        assert said == "ready\n"
        assert "ours" in arena.call(links)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        deadline = time.monotonic() + 60  # the kernel cleans up in a work queue
        while "ours" in arena.call(links):
            assert time.monotonic() < deadline


def test_nothing_is_left_in_the_host_s_own_namespace(bridge: Bridge) -> None:
    with EventLoop() as loop:
        bridge.tap(loop, loop.after)
        names = os.listdir("/sys/class/net")
        assert "br0" not in names
        assert "tap0" not in names


def test_what_the_host_refuses_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(namespace, "_unshare", refuse)
    with pytest.raises(Fault, match="CAP_SYS_ADMIN"):
        Bridge()


def test_no_tun_device_is_a_fault(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "DEVICE", "/dev/net/nothing")
    with EventLoop() as loop, pytest.raises(Fault, match="modprobe tun"):
        bridge.tap(loop, loop.after)
