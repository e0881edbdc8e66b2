"""The test devices of QEMU that test kernels expect: hw/misc/pc-testdev.c and hw/misc/debugexit.c."""

DEBUG_EXIT, DEBUG_EXIT_PORTS = 0xF4, 4  # a write of v ends the guest with exit status (v << 1 | 1) & 0xff

REGISTER, REGISTER_PORTS = 0xE0, 4  # one 32-bit register, byte by byte or whole
REGISTER_BYTES = 0xE8  # the same register, byte-wide
FLUSH, FLUSH_PORTS = 0xE4, 4  # a physical address: the host maps that page anew
LINES, LINES_COUNT = 0x2000, 24  # port LINES + n: the level of GSI n
MEMORY, MEMORY_SIZE = 0xFF00_0000, 0x1_0000  # memory that is no RAM: each access leaves the guest
