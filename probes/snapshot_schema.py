"""What a snapshot may hold: each section with its names, the form of its values, and how many there may be at most.

docs/snapshot.md says what they mean.
"""

from __future__ import annotations

from virtproof.probes import shape
from virtproof.probes.cpus import MAX_CPUS, parse
from virtproof.spec.fault import Fault

MAX_BYTES = 32 << 20  # of the whole document


def _some(text: str) -> None:
    if not parse(text):
        raise Fault("read a CPU list", "no CPU at all")


HEX = "[0-9a-f]"
CPU_LIST = shape.parsed_by(parse, limit=65536)
SOME_CPUS = shape.parsed_by(_some, limit=65536)
SHORT, PATH = shape.text(1024), shape.text(512, r"/[^\0]*")
MSR_INDEX = shape.text(10, f"0x{HEX}{{1,8}}")
U64 = shape.text(18, f"0x{HEX}{{1,16}}")
LEAF_KEY = shape.text(17, rf"{HEX}{{8}}\.{HEX}{{2,8}}")
LEAF_VALUE = shape.text(35, rf"{HEX}{{8}}( {HEX}{{8}}){{3}}")
TOKEN = shape.text(64, r"[A-Za-z0-9_.,*/ -]*")


def per_cpu(value: shape.Shape) -> shape.Shape:
    return shape.mapping(value, CPU_LIST, MAX_CPUS)


UNREAD = shape.sequence(
    shape.record({"what": shape.text(512), "cpus": CPU_LIST, "reason": shape.text(4096)}), limit=4096
)
HOW = shape.mapping(shape.text(128), CPU_LIST, 16)
BACKEND = shape.record(
    {
        "engine": shape.text(16, "kvm|software|none"),
        "name": shape.text(64, "[a-z0-9_]+"),
        "software": shape.optional(shape.boolean),
        "detail": shape.text(512),
    }
)
NODE = shape.record(
    {
        "kind": shape.text(64),
        "number": shape.text(32, r"(\d+:\d+)?"),
        "mode": shape.text(8, r"[0-7]{4}"),
        "owner": shape.text(64),
        "group": shape.text(64),
        "in_group": shape.boolean,
        "access": shape.text(2, "r?w?"),
    }
)
TABLE = shape.record(
    {
        "signature": shape.text(8),
        "length": shape.integer(0, 2**32 - 1),
        "revision": shape.integer(0, 255),
        "oem": shape.text(64),
        "checksum": shape.text(64),
        "data": shape.text(128 << 10, "[A-Za-z0-9+/]*={0,2}"),
    }
)
STRUCTURE = shape.record(
    {
        "type": shape.integer(0, 255),
        "handle": shape.integer(0, 65535),
        "data": shape.text(510, r"([0-9a-f]{2})*"),
        "strings": shape.sequence(shape.text(128), 64),
    }
)
PCI_ADDRESS = shape.text(16, r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
PCI_DEVICE = shape.record(
    {name: shape.text(10, "(0x[0-9a-f]{1,8})?") for name in ("class", "vendor", "device")},
    {
        **{name: shape.integer(-1, 2**30) for name in ("numa_node", "sriov_totalvfs", "sriov_numvfs")},
        "reset": shape.text(64),
        "group": shape.text(64),
        "driver": shape.text(64),
        "physfn": PCI_ADDRESS,
        "port_type": shape.integer(0, 15),
        "extended": shape.sequence(shape.integer(0, 65535), 64),
        "acs": shape.sequence(shape.integer(0, 65535), 2),
    },
)
LINK = shape.record({}, {"kind": shape.text(16), "device": shape.text(64), "address": shape.text(64)})
VFS = shape.record({name: shape.integer(0, 65535) for name in ("vfs", "trusted", "spoof_checked")})
REDFISH_TEXT = shape.text(256)
REDFISH_ATTRIBUTES = shape.mapping(
    shape.text(64), shape.one_of(REDFISH_TEXT, shape.boolean, shape.integer(-(2**53), 2**53)), 256
)
DOCUMENT = shape.record(
    {
        "schema": shape.text(64),
        "tool": shape.text(64),
        "taken": shape.text(32, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        "cpus": SOME_CPUS,
    },
    {
        "imported": shape.record(
            {
                "dumps": shape.sequence(
                    shape.record(
                        {
                            "format": TOKEN,
                            "bytes": shape.integer(0, MAX_BYTES),
                            "sha256": shape.text(64, f"{HEX}{{64}}"),
                        }
                    ),
                    256,
                ),
                "all_cpus": shape.boolean,
            }
        ),
        "cpuid": shape.record(
            {"how": HOW, "values": shape.mapping(LEAF_KEY, per_cpu(LEAF_VALUE), 4096), "unread": UNREAD}
        ),
        "msr": shape.record(
            {"how": HOW, "values": shape.mapping(MSR_INDEX, per_cpu(U64), 4096), "unread": UNREAD},
            {"absent": shape.mapping(MSR_INDEX, per_cpu(shape.text(256)), 4096)},
        ),
        "cpuinfo": shape.record(
            {"values": shape.mapping(shape.text(64), per_cpu(shape.text(8192)), 64), "unread": UNREAD}
        ),
        "files": shape.record(
            {
                "values": shape.mapping(PATH, shape.text(8192), 16384),
                "names": shape.mapping(PATH, shape.sequence(shape.text(256), 4096), 256),
                "absent": shape.sequence(PATH, 4096),
                "unread": UNREAD,
            }
        ),
        "acpi": shape.record(
            {
                "names": shape.sequence(shape.text(8), 256),
                "tables": shape.mapping(shape.text(8), TABLE, 64),
                "unread": UNREAD,
            }
        ),
        "kvm": shape.record(
            {"unread": UNREAD},
            {
                "backend": BACKEND,
                "cause": TOKEN,
                "api_version": shape.integer(-1, 2**31 - 1),
                "extensions": shape.mapping(TOKEN, shape.integer(-(2**31), 2**31 - 1), 1024),
                "supported_cpuid": shape.mapping(LEAF_KEY, LEAF_VALUE, 1024),
                "emulated_cpuid": shape.mapping(LEAF_KEY, LEAF_VALUE, 1024),
                "msrs": shape.sequence(MSR_INDEX, 4096),
                "feature_msrs": shape.mapping(MSR_INDEX, U64, 1024),
                "create_vm": SHORT,
            },
        ),
        "percpu": shape.record({"values": shape.mapping(SHORT, per_cpu(shape.text(256)), 32), "unread": UNREAD}),
        "smbios": shape.record(
            {"version": shape.text(16), "structures": shape.sequence(STRUCTURE, 512), "unread": UNREAD}
        ),
        "efi": shape.record(
            {
                "values": shape.mapping(TOKEN, shape.text(128, r"([0-9a-f]{2})*"), 16),
                "absent": shape.sequence(TOKEN, 16),
                "unread": UNREAD,
            }
        ),
        "kconfig": shape.record(
            {"path": shape.text(256), "values": shape.mapping(TOKEN, shape.text(64), 256), "unread": UNREAD}
        ),
        "pci": shape.record({"devices": shape.mapping(PCI_ADDRESS, PCI_DEVICE, 2048), "unread": UNREAD}),
        "network": shape.record(
            {"unread": UNREAD},
            {
                "links": shape.mapping(SHORT, LINK, 1024),
                "vfs": shape.mapping(SHORT, VFS, 1024),
                "eswitch": shape.mapping(SHORT, shape.text(32), 1024),
            },
        ),
        "redfish": shape.record(
            {"unread": UNREAD},
            {
                "system": shape.mapping(shape.text(16, "manufacturer|model|bios_version"), REDFISH_TEXT, 3),
                "bios": shape.record({"attributes": REDFISH_ATTRIBUTES, "registry": REDFISH_TEXT}),
                "pending": REDFISH_ATTRIBUTES,
                "secure_boot": shape.record(
                    {}, {"enable": shape.boolean, "current": REDFISH_TEXT, "mode": REDFISH_TEXT}
                ),
            },
        ),
        "log": shape.record(
            {"lines": shape.sequence(shape.text(512), 1024), "complete": shape.boolean, "unread": UNREAD}
        ),
        "nodes": shape.record(
            {
                "values": shape.mapping(PATH, NODE, 256),
                "absent": shape.sequence(PATH, 256),
                "root": shape.boolean,
                "unread": UNREAD,
            }
        ),
    },
)
