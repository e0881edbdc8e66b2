"""fw_cfg: a word written to port 510H selects an item, each read of 511H brings its next byte, zeros after its end.

By DMA a structure in guest memory says what to do: control, length, address, all of them big-endian.  The write of its
address's low half to port 518H begins; control reads 0 when it is done, or has bit 0 set.  The files are listed in item
19H: how many (big-endian), then for each its size, key and name.

A BIOS that sets SMM up waits until the status at port B3H is 0 again, as an SMI would leave it.
"""

from virtproof.conformance.device_script import In, Load, Put, Step
from virtproof.conformance.platform import family, inb, outb, outl, outw
from virtproof.guest_payloads.accesses import FREE
from virtproof.spec.cite import Cite

QEMU = "QEMU docs/specs/fw_cfg.rst"
row = family(
    "firmware",
    Cite(QEMU, "'Selector (Control) Register' and 'Data Register'"),
    machine={"files": {"etc/e820": bytes(range(20)), "opt/b": b"xyz"}},
)
dma = family("firmware", Cite(QEMU, "'Guest-side DMA Interface'"), machine={"files": {"etc/e820": bytes(range(20))}})
smm = family("firmware", Cite("SeaBIOS 1.16.2", "src/fw/smm.c, smm_relocate_and_restore"))

SELECT, DATA, HIGH, LOW = 0x510, 0x511, 0x514, 0x518
ACCESS, BUFFER = FREE, FREE + 0x1000
ERROR, READ, SKIP, SELECTS, WRITE = 1, 2, 4, 8, 16
SIGNATURE, E820 = 0, 0x20


def item(key: int, *content: int | None) -> tuple[Step, ...]:
    return outw(SELECT, key), *(inb(DATA, byte) for byte in content)


def access(control: int, length: int, address: int = BUFFER) -> Put:
    return Put(ACCESS, control.to_bytes(4) + length.to_bytes(4) + address.to_bytes(8))


def swapped(value: int) -> int:
    return int.from_bytes(value.to_bytes(4), "little")


BEGIN = outl(LOW, swapped(ACCESS))


def control(value: int) -> Load:
    return Load(ACCESS, 4, swapped(value))


# fmt: off
CASES = (
    row("fwcfg.signature",     "Item 0 is QEMU",                              *item(0, *b"QEMU")),
    row("fwcfg.id",            "Item 1: the ports, and DMA",                  *item(1, 3, 0, 0, 0)),
    row("fwcfg.select_resets_offset", "Selecting begins an item anew",        *item(0, *b"QE"), *item(0, *b"QE")),
    row("fwcfg.read_past_end", "Behind the end of an item there are zeros",   *item(0, *b"QEMU", 0, 0, 0, 0, 0, 0)),
    row("fwcfg.unknown_key",   "An item that is not there is empty",          *item(0x3ABC, 0, 0, 0, 0)),
    row("fwcfg.nb_cpus",       "Item 5 is the number of processors",          *item(5, 1, 0)),
    row("fwcfg.max_cpus",      "Item 0FH is how many there may be",           *item(0x0F, 1, 0)),
    row("fwcfg.numa_zero",     "Item 0DH: no NUMA nodes",                     *item(0x0D, *bytes(8)), priority=2),
    row("fwcfg.file_dir",      "Item 19H lists the files",
        *item(0x19, 0, 0, 0, 2, 0, 0, 0, 20, 0, 0x20, 0, 0, *b"etc/e820", 0), *item(0x19, *(None,) * 68, 0, 0, 0, 3, 0, 0x21, 0, 0, *b"opt/b", 0)),
    row("fwcfg.file_read",     "A file's key brings its bytes",               *item(0x20, *range(20), 0), *item(0x21, *b"xyz", 0)),
    row("fwcfg.data_write_ignored", "The data port cannot be written",        *item(0, ord("Q")), outb(DATA, 0xFF), inb(DATA, ord("E")), *item(0, *b"QEMU"), priority=2),
    smm("fw.seabios.smm_b3_clear", "A command written to port B2H clears the status at B3H", outb(0xB3, 1), inb(0xB3, 1), outb(0xB2, 0), inb(0xB3, 0), priority=2),
    dma("fwcfg.dma_signature", "The DMA ports read QEMU CFG",                 In(HIGH, 4, int.from_bytes(b"QEMU", "little")), In(LOW, 4, int.from_bytes(b" CFG", "little")), priority=2),
    dma("fwcfg.dma_select_read", "SELECT and READ copy an item",              access(E820 << 16 | SELECTS | READ, 20), BEGIN, control(0), Load(BUFFER, 8, 0x0706_0504_0302_0100), Load(BUFFER + 16, 8, 0x1312_1110)),
    dma("fwcfg.dma_skip",      "SKIP passes bytes over",                      access(SIGNATURE << 16 | SELECTS | SKIP, 2), BEGIN, control(0), inb(DATA, ord("M")), inb(DATA, ord("U"))),
    dma("fwcfg.dma_write_ro",  "WRITE to an item that cannot be written fails", access(SIGNATURE << 16 | SELECTS | WRITE, 2), BEGIN, control(ERROR), *item(0, *b"QEMU"), priority=2),
    dma("fwcfg.dma_low_triggers", "The low half begins, the high half waits for it", access(E820 << 16 | SELECTS | READ, 4), outl(HIGH, 0), control(E820 << 16 | SELECTS | READ), BEGIN, control(0), Load(BUFFER, 4, 0x0302_0100)),
    dma("fwcfg.dma_low_triggers.high",      "The high half names memory above 4 GiB, and is gone after that", access(E820 << 16 | SELECTS | READ, 4), outl(HIGH, swapped(1)), BEGIN, control(E820 << 16 | SELECTS | READ), BEGIN, control(0), priority=3),
    dma("fwcfg.dma_zero_len",  "A length of 0 moves nothing and succeeds",    access(E820 << 16 | SELECTS | READ, 0), BEGIN, control(0), Load(BUFFER, 8, 0), priority=2),
    dma("fwcfg.dma_select_read.end",  "By DMA too there are zeros behind the end",   Put(BUFFER, b"\xFF" * 16), access(SIGNATURE << 16 | SELECTS | READ, 8), BEGIN, control(0), Load(BUFFER, 8, int.from_bytes(b"QEMU", "little")), Load(BUFFER + 8, 8, (1 << 64) - 1), priority=3),
)
# fmt: on
