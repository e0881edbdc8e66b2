"""Small dumps in each format, and the pieces they are made of.  What they show is what the tools print."""

from __future__ import annotations

INSTLATX64 = """\
------[ CPUID Registers / Logical CPU #0 ]------

allcpu: Package 0 / Core 0 / Thread 0: Valid

CPUID 00000000: 00000007-756E6547-6C65746E-49656E69 [GenuineIntel]
CPUID 00000001: 000306A9-00100800-7FBAE3FF-BFEBFBFF
CPUID 00000002: 00000000-00000000-00000000-00000000
CPUID 00000003: 00000000-00000000-00000000-00000000
CPUID 00000004: 1C004121-01C0003F-0000003F-00000000 [SL 00]
CPUID 00000004: 1C004122-01C0003F-0000003F-00000000 [SL 01]
CPUID 00000005: 00000040-00000040-00000003-00021120
CPUID 00000006: 00000077-00000002-00000009-00000000
CPUID 00000007: 00000000-00000281-00000000-00000000 [SL 00]
CPUID 80000000: 80000001-00000000-00000000-00000000
CPUID 80000001: 00000000-00000000-00000001-28100800
CPUID 80000002: 20202020-20202020-20202020-20202020

------[ CPUID Registers / Logical CPU #1 ]------

CPUID 00000000: 00000001-756E6547-6C65746E-49656E69 [GenuineIntel]
CPUID 00000001: 000306A9-01100800-7FBAE3FF-BFEBFBFF

------[ MSR Registers / Logical CPU #0 ]------

MSR 0000003A: 0000-0000-0000-0005
MSR 0000004F: 1234-5678-9ABC-DEF0
MSR 0000048B: 0000-0082-0000-0000
MSR 00000491: < FAILED >

------[ MSR Registers / Logical CPU #1 ]------

MSR 0000003A: 0000-0000-0000-0001
"""

CPUID_RAW = """\
CPU 0:
   0x00000000 0x00: eax=0x00000001 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65
   0x00000001 0x00: eax=0x00a10f11 ebx=0x00020800 ecx=0x7efa320b edx=0x178bfbff
   0x20000000 0x00: eax=0x00000000 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x40000000 0x00: eax=0x00000001 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65
   0x80000000 0x00: eax=0x80000001 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65
   0x80000001 0x00: eax=0x00a10f11 ebx=0x00000000 ecx=0x00000004 edx=0x2c100800
CPU 1:
   0x00000000 0x00: eax=0x00000001 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65
   0x00000001 0x00: eax=0x00a10f11 ebx=0x01020800 ecx=0x7efa320b edx=0x178bfbff
   0x80000000 0x00: eax=0x80000001 ebx=0x68747541 ecx=0x444d4163 edx=0x69746e65
   0x80000001 0x00: eax=0x00a10f11 ebx=0x00000000 ecx=0x00000004 edx=0x2c100800
"""

CPUINFO = "".join(
    f"processor\t: {cpu}\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    f"microcode\t: 0xa101148\ncpu MHz\t\t: 2596.{cpu}\nflags\t\t: fpu nx svm npt\n\n"
    for cpu in (0, 1)
)

LSCPU = """\
Architecture:                            x86_64
On-line CPU(s) list:                     0,1
Vendor ID:                               AuthenticAMD
Model name:                              AMD EPYC
CPU family:                              25
Model:                                   17
Flags:                                   fpu nx svm npt
Vulnerability Spec rstack overflow:      Vulnerable: Safe RET, no microcode
Vulnerability Spectre v2:                Mitigation; Retpolines; STIBP disabled
"""


def acpi_table(signature: str, body: bytes) -> bytes:
    """A table with a header and a checksum that holds."""
    data = bytearray(signature.encode() + (36 + len(body)).to_bytes(4, "little") + bytes(28) + body)
    data[10:16] = b"VENDOR"
    data[9] = -sum(data) & 0xFF
    return bytes(data)


DMAR = acpi_table("DMAR", b"\x26\x01" + bytes(10))
FACP = acpi_table("FACP", bytes(80))
SSDT = acpi_table("SSDT", b"x")
XSDT = acpi_table("XSDT", bytes(8 * 4))  # names FACP, DMAR and two SSDTs


def acpidump(*tables: bytes) -> str:
    """As acpidump prints them."""
    blocks = []
    for table in tables:
        lines = [f"{table[:4].decode()} @ 0x0000000000000000"]
        for offset in range(0, len(table), 16):
            row = table[offset : offset + 16]
            shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            lines.append(f"    {offset:04X}: {row.hex(' ').upper():47}  {shown}")
        blocks.append("\n".join(lines) + "\n\n")
    return "".join(blocks)


def structure(kind: int, formatted: bytes, *strings: bytes) -> bytes:
    """An SMBIOS structure; ``formatted`` is what follows its four bytes of header."""
    return (
        bytes([kind, 4 + len(formatted), 0, kind]) + formatted + (b"\0".join(strings) + b"\0\0" if strings else b"\0\0")
    )


def dmidecode_bin() -> bytes:
    """As ``dmidecode --dump-bin`` writes it: the entry point of version 3, made to name byte 32, and the table."""
    bios = structure(0, bytes([1, 2, 0, 0xE8, 3]) + bytes(9), b"Maker of BIOS", b"1.2.3", b"01/02/2024")
    system = structure(
        1, bytes([1, 2, 3, 4]) + bytes(range(16)) + b"\6\0\0", b"Maker", b"Model 7", b"v1", b"SERIAL-1234"
    )
    board = structure(2, bytes([1, 2, 3, 4]), b"Board maker", b"Board 9", b"v2", b"SERIAL-5678")
    table = bios + system + board + structure(127, b"")
    anchor = bytearray(b"_SM3_\0\x18\x03\x04\0\x01\0" + len(table).to_bytes(4, "little") + (32).to_bytes(8, "little"))
    anchor[5] = -sum(anchor) & 0xFF
    return bytes(anchor).ljust(32, b"\0") + table


SAMPLES = {
    "instlatx64": INSTLATX64.encode(),
    "cpuid": CPUID_RAW.encode(),
    "acpidump": acpidump(XSDT, FACP, DMAR, SSDT, SSDT).encode(),
    "acpi": FACP + DMAR,
    "dmidecode": dmidecode_bin(),
    "cpuinfo": CPUINFO.encode(),
    "lscpu": LSCPU.encode(),
}
