"""What only netlink says of network devices, through pyroute2, whose import takes 0.4 s: on request only.

Both questions raise what pyroute2 raises.
"""

from __future__ import annotations

from typing import Any

EXT_MASK_VF = 1  # RTEXT_FILTER_VF of <linux/rtnetlink.h>
ESWITCH_MODES = {0: "legacy", 1: "switchdev"}  # enum devlink_eswitch_mode of <linux/devlink.h>


def vfs() -> dict[str, dict[str, int]]:
    """Physical functions by interface: how many virtual functions, how many of them trusted or checked for spoofing."""
    from pyroute2 import IPRoute  # noqa: PLC0415 -- 0.4 s

    with IPRoute() as route:
        return counted(route.get_links(ext_mask=EXT_MASK_VF))


def counted(links: Any) -> dict[str, dict[str, int]]:
    """The same of the messages RTM_NEWLINK."""
    found: dict[str, dict[str, int]] = {}
    for link in links:
        number = link.get_attr("IFLA_NUM_VF")
        if number is None:
            continue
        listed = link.get_attr("IFLA_VFINFO_LIST")
        infos = listed.get_attrs("IFLA_VF_INFO") if listed is not None else []
        found[str(link.get_attr("IFLA_IFNAME"))[:64]] = {
            "vfs": int(number),
            "trusted": sum(_setting(info, "IFLA_VF_TRUST") for info in infos),
            "spoof_checked": sum(_setting(info, "IFLA_VF_SPOOFCHK") for info in infos),
        }
    return found


def _setting(info: Any, name: str) -> bool:
    value = info.get_attr(name)
    return bool(value and value["setting"] == 1)


def eswitch() -> dict[str, str]:
    """Devices that devlink knows, with the mode of their switch; empty text where the device has none."""
    from pyroute2 import DL  # noqa: PLC0415 -- 0.4 s
    from pyroute2.netlink import NLM_F_REQUEST  # noqa: PLC0415
    from pyroute2.netlink.devlink import DEVLINK_NAMES, devlinkcmd  # noqa: PLC0415
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    found: dict[str, str] = {}
    with DL() as devlink:
        for device in devlink.list():
            bus, name = device.get_attr("DEVLINK_ATTR_BUS_NAME"), device.get_attr("DEVLINK_ATTR_DEV_NAME")
            message = devlinkcmd()
            message["cmd"] = DEVLINK_NAMES["DEVLINK_CMD_ESWITCH_GET"]
            message["attrs"] = [("DEVLINK_ATTR_BUS_NAME", bus), ("DEVLINK_ATTR_DEV_NAME", name)]
            try:
                (answer, *_) = devlink.nlm_request(message, msg_type=devlink.prid, msg_flags=NLM_F_REQUEST)
                mode = ESWITCH_MODES.get(answer.get_attr("DEVLINK_ATTR_ESWITCH_MODE"), "unknown")
            except NetlinkError:
                mode = ""  # EOPNOTSUPP: a device without a switch
            found[f"{bus}/{name}"[:64]] = mode
    return found
