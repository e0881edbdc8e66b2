"""What one dump says about its host: sections of a snapshot, and which CPUs it speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from virtproof.probes.cpus import MAX_CPUS
from virtproof.spec.fault import Fault


@dataclass(frozen=True, slots=True)
class Part:
    """``all_cpus``: the dump lists every CPU that was online, so that one it does not name was not there."""

    sections: dict[str, dict[str, Any]]
    cpus: tuple[int, ...] = ()
    all_cpus: bool = False


def text_of(data: bytes) -> str:
    """The text of a dump.  What is not UTF-8 becomes U+FFFD: old dumps carry whatever the firmware wrote."""
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


def cpu_number(text: str, what: str) -> int:
    """A CPU number in decimal.  Raises ``Fault`` for one that no Linux host has."""
    if len(text) > 5 or int(text) >= MAX_CPUS:
        raise Fault(what, f"CPU {text[:12]}; at most {MAX_CPUS} CPUs are read")
    return int(text)
