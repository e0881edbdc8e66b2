"""PAM registers of the host bridge: where reads and writes of the BIOS area go.

Each segment of 16 KiB from C0000H to EFFFFH, and the 64 KiB from F0000H, has two bits: reads from RAM, writes to RAM.
Without them an access goes to the bus, where there is the ROM above E0000H.
"""

from virtproof.conformance.bus_rig import BusRig
from virtproof.conformance.case import Case
from virtproof.conformance.device_script import ConfigRead, ConfigWrite, Load, Store, script
from virtproof.spec.cite import Cite
from virtproof.vmm.machine import Machine

PAM = (Cite("Intel 440FX PCIset data sheet", "'PAM - Programmable Attribute Map Registers'"),)
PAM0, PAM1 = 0x59, 0x5A
RESET_VECTOR, JUMP = 0xFFFF0, 0xEA


def with_rom(machine: Machine) -> BusRig:
    """The rig with a ROM of 256 KiB: zeros, and a jump where the processor starts."""
    rom = bytearray(256 << 10)
    rom[-16] = JUMP
    return BusRig(machine, rom=bytes(rom))


# fmt: off
CASES: tuple[Case, ...] = (
    script("bus.host.pam_reset", "PAM registers begin as 0", "bus", PAM, with_rom,
        ConfigRead(0, 0x58, 4, 0), ConfigRead(0, 0x5C, 4, 0)),
    script("bus.host.pam_write_readback", "PAM registers keep two bits of each half", "bus", PAM, with_rom,
        ConfigWrite(0, 0x58, 4, 0x3333_3000), ConfigWrite(0, 0x5C, 4, 0x3333_3333), ConfigRead(0, 0x58, 4, 0x3333_3000),
        ConfigRead(0, 0x5C, 4, 0x3333_3333), ConfigWrite(0, PAM1, 1, 0xFF), ConfigRead(0, PAM1, 1, 0x33)),
    script("bus.host.pam_ram_writable", "With both bits a segment is RAM", "bus", PAM, with_rom,
        ConfigWrite(0, PAM1, 1, 0x33), Store(0xC0000, 1, 0x55), Load(0xC0000, 1, 0x55), Store(0xC7FFF, 1, 0x66), Load(0xC7FFF, 1, 0x66)),
    script("bus.host.pam_readonly", "With the read bit only, writes are lost", "bus", PAM, with_rom,
        ConfigWrite(0, PAM1, 1, 0x33), Store(0xC0000, 1, 0x55), ConfigWrite(0, PAM1, 1, 0x11), Store(0xC0000, 1, 0xAA),
        Load(0xC0000, 1, 0x55), priority=2),
    script("bus.host.pam_shadow_rom", "Without either bit F0000H is ROM", "bus", PAM, with_rom,
        Load(RESET_VECTOR, 1, JUMP), Store(RESET_VECTOR, 1, 0), Load(RESET_VECTOR, 1, JUMP), ConfigWrite(0, PAM0, 1, 0x30),
        Store(RESET_VECTOR, 1, 0x77), Load(RESET_VECTOR, 1, 0x77), ConfigWrite(0, PAM0, 1, 0x00), Load(RESET_VECTOR, 1, JUMP), priority=2),
    script("bus.host.pam_shadow_rom.write_through", "With the write bit only, reads bring ROM and writes reach RAM", "bus", PAM, with_rom,
        ConfigWrite(0, PAM0, 1, 0x20), Store(RESET_VECTOR, 1, 0x77), Load(RESET_VECTOR, 1, JUMP), ConfigWrite(0, PAM0, 1, 0x30),
        Load(RESET_VECTOR, 1, 0x77), priority=2, refs=("bus.host.pam_shadow_rom",)),
    script("bus.host.pam_granularity", "The halves of a register are about 16 KiB each", "bus", PAM, with_rom,
        ConfigWrite(0, PAM1, 1, 0x33), Store(0xC0000, 4, 1), Store(0xC4000, 4, 2), ConfigWrite(0, PAM1, 1, 0x03),
        Load(0xC0000, 4, 1), Load(0xC4000, 4, 0xFFFF_FFFF), Store(0xC4000, 4, 3), ConfigWrite(0, PAM1, 1, 0x33), Load(0xC4000, 4, 2), priority=2),
)
# fmt: on
