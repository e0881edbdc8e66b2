"""Damaged snapshots: one that is taken can be asked and its claims judged; anything else is a ``Fault``."""

from __future__ import annotations

import copy
import json
import os
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.probes.firmware import samples
from virtproof.probes.ask import ask
from virtproof.probes.claims import claims
from virtproof.probes.collect import collect
from virtproof.probes.snapshot import checked, dumps, loads
from virtproof.probes.sources.acpi import table as entry
from virtproof.probes.sources.smbios import section
from virtproof.spec.fault import Fault

EXAMPLES = int(os.environ.get("VIRTPROOF_FUZZ", "60"))  # of each test
quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def whole() -> dict[str, Any]:
    """This machine, with every section that another may have."""
    document = json.loads(dumps(collect()))
    document["acpi"]["tables"] = {name: entry(data) for name, data in samples.TABLES.items()}
    document["acpi"]["names"] = sorted(samples.TABLES)
    document["smbios"] = section(samples.entry_3(), samples.SMBIOS)
    document["efi"] = {"values": {"SecureBoot": "0600000001"}, "absent": ["SetupMode"], "unread": []}
    document["pci"]["devices"]["0000:3b:00.0"] = {
        "class": "0x020000", "vendor": "0x8086", "device": "0x1572", "numa_node": 1, "sriov_totalvfs": 64,
        "sriov_numvfs": 0, "reset": "flr", "group": "7", "port_type": 4, "extended": [13, 16], "acs": [31, 29],
    }  # fmt: skip
    document["network"]["vfs"] = {"eth0": {"vfs": 1, "trusted": 0, "spoof_checked": 1}}
    document["network"]["eswitch"] = {"pci/0000:3b:00.0": "legacy"}
    files = document["files"]["values"]
    files["/sys/class/iommu/dmar0/intel-iommu/ecap"] = "f050da"
    files["/sys/class/iommu/ivhd0/amd-iommu/features"] = "10:20"
    files["/sys/kernel/iommu_groups/0/reserved_regions"] = "0x1 0x2 direct"
    files["/sys/class/firmware-attributes/thinklmi/attributes/IOMMU/current_value"] = "Auto"
    files["/sys/fs/cgroup/misc.capacity"] = "sev 1"
    return document


WHOLE = whole()
TEXT = json.dumps(WHOLE).encode()
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ("0-9999999", "../../etc", "\ud800", "x" * 70_000, "0x1", "1 2", "[", "[x]", "0" * 20, "٣", "{0}")
    )
    | st.sampled_from(([], {}, [[]], {"": {}}, {"0x1": "0"}, [{}], {"values": {}, "unread": []}))
)


def places(node: object) -> list[tuple[Any, Any]]:
    """Every place in a document that can be changed: pairs (holder, key)."""
    found: list[tuple[Any, Any]] = []
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        found.append((node, key))
        found += places(node[key])  # type: ignore[index]
    return found


PLACES = len(places(WHOLE))


@settings(quick, max_examples=max(EXAMPLES // 5, 30))
@given(st.lists(st.tuples(st.integers(0, PLACES - 1), st.booleans(), VALUES), min_size=1, max_size=3))
def test_a_damaged_document(changes: list[tuple[int, bool, object]]) -> None:
    document = copy.deepcopy(WHOLE)
    for number, remove, value in changes:
        there = places(document)
        holder, key = there[number % len(there)]
        if remove:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(value)
    try:
        snapshot = checked(document)
    except Fault:
        return
    claims(ask(snapshot))


@quick
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=6)), min_size=1, max_size=4))
def test_damaged_text(changes: list[tuple[float, int, bytes]]) -> None:
    data = TEXT
    for where, cut, put in changes:
        at = int(where * len(data))
        data = data[:at] + put + data[at + cut :]
    try:
        snapshot = loads(data)
    except Fault:
        return
    claims(ask(snapshot))


@quick
@given(st.binary(max_size=100) | st.text(max_size=100))
def test_any_text(data: bytes | str) -> None:
    with suppress(Fault):
        loads(data)
