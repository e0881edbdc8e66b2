"""Device nodes: do they exist, whose are they, and what may this user do with them."""

from __future__ import annotations

import grp
import os
import pwd
import stat

from virtproof.probes.sources import under, unread, why

NODES = (
    "/dev/kvm",
    "/dev/net/tun",
    "/dev/vhost-net",
    "/dev/vhost-vsock",
    "/dev/vfio/vfio",
    "/dev/iommu",
    "/dev/sev",
    "/dev/sgx_vepc",
    "/dev/tpm0",
    "/dev/userfaultfd",
    "/dev/cpu/0/cpuid",
    "/dev/cpu/0/msr",
)


def read(root: str) -> dict[str, object]:
    """The snapshot's section ``nodes``."""
    values: dict[str, object] = {}
    absent: list[str] = []
    missing: list[dict[str, str]] = []
    for path in NODES:
        try:
            values[path] = _node(under(root, path))
        except (FileNotFoundError, NotADirectoryError):
            absent.append(path)
        except OSError as error:
            missing.append(unread(path, why(error)))
    return {"values": values, "absent": absent, "root": os.geteuid() == 0, "unread": missing}


def _node(path: str) -> dict[str, object]:
    status = os.stat(path)
    device = stat.S_ISCHR(status.st_mode)
    return {
        "kind": "character device" if device else "not a character device",
        "number": f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if device else "",
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": _name(pwd.getpwuid, status.st_uid),
        "group": _name(grp.getgrgid, status.st_gid),
        "in_group": status.st_gid in {os.getegid(), *os.getgroups()},
        "access": os.access(path, os.R_OK) * "r" + os.access(path, os.W_OK) * "w",
    }


def _name(lookup: object, number: int) -> str:
    try:
        return str(lookup(number)[0])  # type: ignore[operator]
    except KeyError:
        return str(number)
