"""The bit of QMP that libqtest and libqos use.

QEMU docs/interop/qmp-spec.txt, and docs/interop/qemu-qmp-ref.  Commands: qmp_capabilities, query-machines,
query-status, query-version, qom-list-types, stop, cont, system_reset, quit; any other is answered with CommandNotFound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from virtproof.vmm.qtest.devices import INNER, MAKERS

LIMIT = 1 << 20  # bytes of one command
VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "virtproof"}
GREETING = {"QMP": {"version": VERSION, "capabilities": []}}
MACHINES = (
    {
        "name": "pc-i440fx-7.2",
        "alias": "pc",
        "is-default": True,
        "cpu-max": 1,
        "hotpluggable-cpus": False,
        "numa-mem-supported": False,
        "deprecated": False,
        "default-ram-id": "pc.ram",
    },
)
# Types that tests look for beside the devices: the buses that ours are on.
ALWAYS = ("pci-device", "i440FX", "PIIX3", "PIIX4_PM", "mc146818rtc", "fw_cfg_io")


class Controlled(Protocol):
    """What commands act on."""

    running: bool

    def system_reset(self) -> None: ...
    def quit(self) -> None: ...


class Refused(Exception):
    """A command that is answered with an error: its class, and why in words."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Qmp:
    """Answers one command at a time, each a line of JSON; events go to ``send`` by themselves."""

    def __init__(self, controlled: Controlled, send: Callable[[Mapping[str, Any]], None]) -> None:
        self._controlled, self._send = controlled, send
        self._commands: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "qmp_capabilities": lambda arguments: {},
            "query-machines": lambda arguments: list(MACHINES),
            "query-version": lambda arguments: VERSION,
            "query-status": self._status,
            "qom-list-types": lambda arguments: types(),
            "stop": lambda arguments: self._run(False),
            "cont": lambda arguments: self._run(True),
            "system_reset": self._reset,
            "quit": self._quit,
        }

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._commands)

    def take(self, line: bytes) -> None:
        """Carry a command out, and send its answer and events."""
        identity: dict[str, Any] = {}
        try:
            try:
                command = json.loads(line)
            except (ValueError, RecursionError):
                raise Refused("GenericError", "Invalid JSON syntax") from None
            if not isinstance(command, dict) or not isinstance(command.get("execute"), str):
                raise Refused("GenericError", "QMP input lacks member 'execute'")
            identity = {"id": command["id"]} if "id" in command else {}
            name, arguments = command["execute"], command.get("arguments", {})
            if name not in self._commands:
                raise Refused("CommandNotFound", f"The command {name} has not been found")
            if not isinstance(arguments, dict):
                raise Refused("GenericError", "QMP input member 'arguments' must be an object")
            self._send({"return": self._commands[name](arguments)} | identity)
        except Refused as refused:
            self._send({"error": {"class": refused.kind, "desc": str(refused)}} | identity)

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        """Tell of something that happened; there is no time of day."""
        self._send({"event": name, "data": data, "timestamp": {"seconds": 0, "microseconds": 0}})

    def _status(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        running = self._controlled.running
        return {"status": "running" if running else "paused", "running": running, "singlestep": False}

    def _run(self, running: bool) -> dict[str, Any]:
        if self._controlled.running != running:
            self._controlled.running = running
            self.event("RESUME" if running else "STOP", {})
        return {}

    def _reset(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self._controlled.system_reset()
        self.event("RESET", {"guest": False, "reason": "host-qmp-system-reset"})
        return {}

    def _quit(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self._controlled.quit()
        self.event("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
        return {}


def types() -> list[dict[str, Any]]:
    """What a test finds that it can put on a machine."""
    devices = [{"name": name, "parent": "pci-device"} for name in sorted({*MAKERS, *INNER})]
    return [*devices, *({"name": name, "parent": "device"} for name in ALWAYS)]
