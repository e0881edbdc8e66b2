"""The socket of a debugger: who gets in, what is acknowledged, what ends it."""

from __future__ import annotations

import random
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from virtproof.spec.fault import Fault
from virtproof.vmm.gdb.connection import MAX_WAITING, Connection, Listener, Lost
from virtproof.vmm.gdb.packets import MAX_PAYLOAD, encode

Pair = tuple[Connection, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    with closing(Connection(ours)) as connection, theirs:
        yield connection, theirs


def test_a_packet_is_acknowledged_until_nobody_wants_that(pair: Pair) -> None:
    connection, theirs = pair
    theirs.sendall(b"+" + encode(b"g"))
    assert connection.packet() == b"g"
    assert theirs.recv(10) == b"+"
    connection.no_acks = True
    theirs.sendall(encode(b"g"))
    assert connection.packet() == b"g"
    connection.send(b"OK")
    assert theirs.recv(10) == b"$OK#9a"


def test_a_damaged_packet_is_asked_for_again_and_an_answer_repeated(pair: Pair) -> None:
    connection, theirs = pair
    theirs.sendall(b"$g#00" + encode(b"?"))
    assert connection.packet() == b"?"
    assert theirs.recv(10) == b"-+"
    connection.send(b"OK")
    theirs.sendall(b"-" + encode(b"g"))
    assert connection.packet() == b"g"
    assert theirs.recv(20) == b"$OK#9a$OK#9a+"


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", b"$" + b"x" * (MAX_PAYLOAD + 2), encode(b"g") * (MAX_WAITING + 2), b""],
    ids=["HTTP", "huge", "many", "end"],
)
def test_a_client_that_is_no_debugger_is_lost(pair: Pair, data: bytes) -> None:
    connection, theirs = pair
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(Lost):
        _look_to_the_end(connection)


def _look_to_the_end(connection: Connection) -> None:
    while True:
        connection.look()


def test_damage_on_a_line_said_to_be_reliable_is_the_end(pair: Pair) -> None:
    connection, theirs = pair
    connection.no_acks = True
    theirs.sendall(b"$g#00")
    with pytest.raises(Lost):
        connection.packet()


def test_a_request_to_stop_is_seen_without_waiting(pair: Pair) -> None:
    connection, theirs = pair
    connection.look()
    assert not connection.interrupted
    theirs.sendall(b"\x03")
    connection.look()
    assert connection.interrupted


def test_a_request_to_stop_before_a_packet_is_for_a_guest_that_has_stopped(pair: Pair) -> None:
    connection, theirs = pair
    theirs.sendall(b"\x03" + encode(b"c") + b"\x03")
    assert connection.packet() == b"c"
    assert connection.interrupted


def test_random_bytes_are_taken_or_the_client_is_lost() -> None:
    chance = random.Random(1)
    for _ in range(500):
        ours, theirs = socket.socketpair()
        with closing(Connection(ours)) as connection, theirs:
            theirs.sendall(bytes(chance.choices(b"$#}+-\x03g0\xff", k=chance.randrange(60))))
            theirs.shutdown(socket.SHUT_WR)
            with suppress(Lost):
                while True:
                    assert isinstance(connection.packet(), bytes)


def test_a_port_is_on_loopback_and_a_free_one_is_found() -> None:
    with Listener("0") as listener:
        host, _, port = listener.address.partition(":")
        assert host == "127.0.0.1"
        with pytest.raises(Fault, match="in use"):
            Listener(port)


def test_a_unix_socket_is_its_users_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "debug"
    with Listener(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


@pytest.mark.parametrize("address", ["", "-1", "65536", "kernel.elf", "١٢", "/does/not/exist", "/" + "x" * 200])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(Fault, match="wait for a debugger"):
        Listener(address)
