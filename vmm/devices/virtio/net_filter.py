"""Which frames virtio-net lets in: VIRTIO 1.2, "Packet Receive Filtering", "Setting MAC Address Filtering", "VLAN
Filtering".

Until a driver says otherwise everything comes in.
"""

from __future__ import annotations

import struct
from typing import Any

from virtproof.spec.virtio_net import RxCommand, VlanCommand

TABLE = 64  # addresses that are told apart; of more than that all come in
BROADCAST = bytes([0xFF] * 6)
VLAN_TAG, VLANS = b"\x81\x00", 4096


class ReceiveFilter:
    """Obeys the control queue; each command says whether it was understood."""

    def __init__(self) -> None:
        self._modes = {RxCommand.PROMISC}
        self._unicast: frozenset[bytes] | None = frozenset()  # None: too many
        self._multicast: frozenset[bytes] | None = frozenset()
        self._vlans: set[int] | None = None  # None: the driver has not begun to filter

    def accepts(self, frame: bytes, mac: bytes) -> bool:
        modes, to = self._modes, frame[:6]
        if RxCommand.PROMISC in modes:
            return True
        vlan = int.from_bytes(frame[14:16], "big") % VLANS if frame[12:14] == VLAN_TAG else None
        if vlan is not None and self._vlans is not None and vlan not in self._vlans:
            return False
        if to == BROADCAST:
            return RxCommand.NOBCAST not in modes
        if to[0] & 1:
            if RxCommand.NOMULTI in modes:
                return False
            return RxCommand.ALLMULTI in modes or self._multicast is None or to in self._multicast
        if RxCommand.NOUNI in modes:
            return False
        return RxCommand.ALLUNI in modes or to == mac or self._unicast is None or to in self._unicast

    def set_mode(self, command: int, data: bytes) -> bool:
        if len(data) != 1 or command not in list(RxCommand):
            return False
        self._modes = self._modes | {RxCommand(command)} if data[0] else self._modes - {RxCommand(command)}
        return True

    def set_table(self, data: bytes) -> bool:
        """Two tables: a 32-bit count, and that many addresses."""
        tables = []
        for _ in range(2):
            count = int.from_bytes(data[:4], "little")
            if len(data) < 4 or len(data) - 4 < 6 * count:
                return False
            found = (data[at : at + 6] for at in range(4, 4 + 6 * count, 6))
            tables.append(frozenset(found) if count <= TABLE else None)
            data = data[4 + 6 * count :]
        if data:
            return False
        self._unicast, self._multicast = tables
        return True

    def set_vlan(self, command: int, data: bytes) -> bool:
        if len(data) != 2 or command not in list(VlanCommand):
            return False
        (vlan,) = struct.unpack("<H", data)
        if vlan >= VLANS:
            return False
        vlans = self._vlans or set()
        self._vlans = vlans | {vlan} if command == VlanCommand.ADD else vlans - {vlan}
        return True

    def state(self) -> dict[str, Any]:
        def shown(table: frozenset[bytes] | None) -> list[str] | None:
            return None if table is None else sorted(address.hex() for address in table)

        return {
            "modes": sorted(self._modes),
            "unicast": shown(self._unicast),
            "multicast": shown(self._multicast),
            "vlans": None if self._vlans is None else sorted(self._vlans),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what ``state`` gave.  Raises ValueError, TypeError or KeyError for anything else."""

        def taken(table: list[str] | None) -> frozenset[bytes] | None:
            addresses = None if table is None else frozenset(map(bytes.fromhex, table))
            if addresses is not None and (len(addresses) > TABLE or any(len(address) != 6 for address in addresses)):
                raise ValueError("a table of other things than addresses")
            return addresses

        vlans = state["vlans"]
        if vlans is not None and not set(vlans) <= set(range(VLANS)):
            raise ValueError("a VLAN that does not exist")
        unicast, multicast = taken(state["unicast"]), taken(state["multicast"])
        self._modes = set(map(RxCommand, state["modes"]))
        self._unicast, self._multicast = unicast, multicast
        self._vlans = None if vlans is None else set(vlans)
