"""QEMU docs/specs/fw_cfg.rst, "QEMU Firmware Configuration (fw_cfg) Device": the two ports and what kernels ask for."""

from enum import IntEnum

SELECTOR, DATA = 0x510, 0x511
PORTS = 2
KEY_MASK = 0x3FFF  # without the write channel and the architecture bit


class Key(IntEnum):
    """Items that are numbers; little-endian."""

    SIGNATURE = 0x00  # "QEMU"
    ID = 0x01  # 4 bytes of features; bit 0: the ports
    RAM_SIZE = 0x03  # 8 bytes
    NB_CPUS = 0x05  # 2 bytes
    MAX_CPUS = 0x0F  # 2 bytes
