"""Which frames the adapter receives: its own address, groups, modes, and the table of VLANs."""

from typing import Any

from virtproof.spec.vmxnet3 import RxMode

BROADCAST = b"\xff" * 6
TAGGED = b"\x81\x00"
ADDRESS = 6
# Each operation on a flag makes a new one: plain numbers, for this is done for each frame.
_UNICAST, _MULTICAST, _BROADCAST = RxMode.UNICAST.value, RxMode.MULTICAST.value, RxMode.BROADCAST.value
_ALL_MULTICAST, _PROMISCUOUS = RxMode.ALL_MULTICAST.value, RxMode.PROMISCUOUS.value


class RxFilter:
    """What the driver has asked for; ``groups`` are multicast addresses, ``vlans`` a bit for each of 4096."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.mode = 0
        self.groups: frozenset[bytes] = frozenset()
        self.vlans = bytes(512)

    def set_groups(self, table: bytes) -> None:
        """Take whole addresses; a rest is ignored."""
        whole = len(table) // ADDRESS * ADDRESS
        self.groups = frozenset(table[at : at + ADDRESS] for at in range(0, whole, ADDRESS))

    def accepts(self, frame: bytes, address: bytes) -> bool:
        mode = self.mode
        if mode & _PROMISCUOUS:
            return True
        if frame[12:14] == TAGGED and len(frame) >= 16:
            vlan = (frame[14] & 0x0F) << 8 | frame[15]
            if not self.vlans[vlan >> 3] >> (vlan & 7) & 1:
                return False
        to = frame[:ADDRESS]
        if not to[0] & 1:
            return bool(mode & _UNICAST) and to == address
        if to == BROADCAST:
            return bool(mode & _BROADCAST)
        return bool(mode & _ALL_MULTICAST) or (bool(mode & _MULTICAST) and to in self.groups)

    def state(self) -> dict[str, Any]:
        return {"mode": self.mode, "groups": sorted(group.hex() for group in self.groups), "vlans": self.vlans.hex()}

    def restore(self, state: dict[str, Any]) -> None:
        vlans = bytes.fromhex(state["vlans"])
        groups = frozenset(bytes.fromhex(group) for group in state["groups"])
        if len(vlans) != len(self.vlans) or any(len(group) != ADDRESS for group in groups):
            raise ValueError("no filter")
        self.mode, self.groups, self.vlans = int(state["mode"]), groups, vlans
