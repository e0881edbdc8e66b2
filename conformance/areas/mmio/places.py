"""Where holes are and who looks: every mode, ring 3, above 4 GiB, through any mapping; what goes before MMIO; fetches.

What comes out is the guest-physical address, whatever linear address led there.  The guest's own page tables go first:
an access that they refuse is a page fault and never comes out.  With the interrupt controllers in the kernel the local
APIC's page does not come out either.  There is no code in a hole: a jump there ends the guest with an internal error.
"""

from virtproof.conformance.case import (
    Answers,
    Insn,
    completes,
    family,
    faults,
    mmio_read,
    mmio_write,
    msr,
    stops,
)
from virtproof.conformance.hole import DOUBLEWORD, HOLE, QUADWORD, WORD, device
from virtproof.conformance.window import CELL, FRAME, VA, WINDOW, maps, page
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, linux, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.msr import Msr

row = family(
    "mmio",
    sdm("3C", "VMX Support for Address Translation, 'EPT Violations'"),
    apm(2, "Secure Virtual Machine, 'Nested versus Guest Page Faults, Fault Ordering'"),
    linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_MMIO"),
)

LONG64, PROT32, COMPAT32, REAL16 = Mode.LONG64, Mode.PROT32, Mode.COMPAT32, Mode.REAL16
OLD = 0x1122_3344_5566_7788
HIGH = 1 << 33
LOCAL_APIC, IO_APIC, HPET = 0xFEE0_0000, 0xFEC0_0000, 0xFED0_0000
ROM = 0xF_0000  # where a PC has its BIOS, and our guests nothing

LOAD4, STORE4 = Insn("8b 03", "mov eax, dword ptr [rbx]"), Insn("89 03", "mov dword ptr [rbx], eax")
LOAD8 = Insn("48 8b 03", "mov rax, qword ptr [rbx]")
STORE4_RDI = Insn("89 07", "mov dword ptr [rdi], eax")
LOAD4_ADDR32 = Insn("67 8b 03", "mov eax, dword ptr [ebx]")
LOAD_VERSION = Insn("8b 43 30", "mov eax, dword ptr [rbx + 0x30]")
AND_F0 = Insn("25 f0 00 00 00", "and eax, 0xf0")
JUMP, CALL = Insn("ff e3", "jmp rbx"), Insn("ff d3", "call rbx")
STORE_1 = Insn("c7 03 01 00 00 00", "mov dword ptr [rbx], 1")
LOAD_FS = Insn("64 8b 04 25 08 00 00 00", "mov eax, dword ptr fs:[8]")
SIB = (
    Insn("8b 44 0b 08", "mov eax, dword ptr [rbx + rcx + 8]"),
    Insn("8b 54 4b fc", "mov edx, dword ptr [rbx + rcx*2 - 4]"),
    Insn("8b 74 8b 80", "mov esi, dword ptr [rbx + rcx*4 - 0x80]"),
    Insn("8b bc cb 00 f0 ff ff", "mov edi, dword ptr [rbx + rcx*8 - 0x1000]"),
)
# At VA: mov eax, [rip + ...], which is 8 bytes into the page behind; ret.
RIP_RELATIVE = int.from_bytes(b"\x8b\x05" + (WINDOW + 0x1008 - (VA + 6)).to_bytes(4, "little") + b"\xc3", "little")

REAL = (
    Insn("b8 00 f0", "mov ax, 0xf000"),
    Insn("8e c0", "mov es, ax"),
    Insn("26 a1 00 00", "mov ax, word ptr es:[0]"),
    Insn("26 a2 02 00", "mov byte ptr es:[2], al"),
    Insn("26 66 a3 10 00", "mov dword ptr es:[0x10], eax"),
)
PROT = (
    Insn("8b 03", "mov eax, dword ptr [ebx]"),
    Insn("66 89 03", "mov word ptr [ebx], ax"),
    Insn("89 03", "mov dword ptr [ebx], eax"),
)
# Stores of all sizes, up and down, two of them to the same place.
STORES = (
    Insn("48 89 43 10", "mov qword ptr [rbx + 0x10], rax"),
    Insn("89 43 08", "mov dword ptr [rbx + 8], eax"),
    Insn("66 89 43 01", "mov word ptr [rbx + 1], ax"),
    Insn("88 43 06", "mov byte ptr [rbx + 6], al"),
    Insn("88 03", "mov byte ptr [rbx], al"),
    Insn("88 23", "mov byte ptr [rbx], ah"),
    Insn("89 43 0c", "mov dword ptr [rbx + 0xc], eax"),
)

# fmt: off
CASES = (
    row("mmio.x.real16",     "A hole below 1 MiB in real mode",           REAL16, REAL,
        completes(regs={"rax": 0x1122_9A8B}, accesses=(mmio_read(ROM, 2, WORD), mmio_write(ROM + 2, 1, 0x8B), mmio_write(ROM + 0x10, 4, 0x1122_9A8B))),
        regs={"rax": 0x1122_3344}, answers=(device(ROM),)),
    row("mmio.x.prot32",     "A hole below 4 GiB in protected mode",      PROT32, PROT,
        completes(regs={"rax": DOUBLEWORD}, accesses=(mmio_read(0xE000_0000, 4, DOUBLEWORD), mmio_write(0xE000_0000, 2, WORD), mmio_write(0xE000_0000, 4, DOUBLEWORD))),
        regs={"rbx": 0xE000_0000}, answers=(device(0xE000_0000),)),
    row("mmio.x.above4g",    "A hole above 4 GiB",                        LONG64, (LOAD8, STORE4),
        completes(regs={"rax": QUADWORD}, accesses=(mmio_read(HIGH + 8, 8, QUADWORD), mmio_write(HIGH + 8, 4, DOUBLEWORD))),
        regs={"rbx": WINDOW + 8}, sets=(maps(page(HIGH)),), answers=(device(HIGH + 8),)),
    row("mmio.x.ring3",      "User code reaches a hole that it may use",  LONG64, (LOAD4, STORE4),
        completes(regs={"rax": DOUBLEWORD}, accesses=(mmio_read(HOLE, 4, DOUBLEWORD), mmio_write(HOLE, 4, DOUBLEWORD))),
        regs={"rbx": WINDOW}, ring=3, sets=(maps(page(HOLE, user=True)),), answers=(device(),), priority=2),
    row("mmio.x.alias",      "Two linear addresses of one hole come out as one address", LONG64, (STORE4, STORE4_RDI),
        completes(accesses=2 * (mmio_write(HOLE + 4, 4, 0x5566_7788),)),
        regs={"rax": OLD, "rbx": WINDOW + 4, "rdi": WINDOW + 0x1004}, sets=(maps(page(HOLE), 0), maps(page(HOLE), 1)), priority=2),
    row("mmio.x.addr32",     "With an address-size prefix an address has 32 bits", LONG64, LOAD4_ADDR32,
        completes(regs={"rax": DOUBLEWORD}, accesses=(mmio_read(HOLE, 4, DOUBLEWORD),)),
        regs={"rbx": 0xFFFF_FFFF_0000_0000 | HOLE}, answers=(device(),), priority=2),
    row("mmio.x.wc_order",   "Stores come out in the order of the program, none joined", LONG64, STORES,
        completes(accesses=(mmio_write(HOLE + 0x10, 8, OLD), mmio_write(HOLE + 8, 4, 0x5566_7788), mmio_write(HOLE + 1, 2, 0x7788), mmio_write(HOLE + 6, 1, 0x88),
                            mmio_write(HOLE, 1, 0x88), mmio_write(HOLE, 1, 0x77), mmio_write(HOLE + 0xC, 4, 0x5566_7788))),
        regs={"rax": OLD, "rbx": HOLE}),
    # The load before it shows that the mapping leads to the hole, and makes the host remember it as one.
    row("mmio.x.perm_first", "A store to a read-only hole is a page fault and does not come out", LONG64, (LOAD4, STORE4),
        faults(Vector.PF, 0x03, cr2=WINDOW, regs={"rax": DOUBLEWORD}, accesses=(mmio_read(HOLE, 4, DOUBLEWORD),)),
        regs={"rbx": WINDOW}, sets=(maps(page(HOLE, write=False)),), answers=(device(),)),
    row("mmio.x.perm_first.ring3", "A user load from the supervisor's hole is a page fault and does not come out", LONG64, LOAD4,
        faults(Vector.PF, 0x05, cr2=WINDOW, accesses=()),
        regs={"rbx": WINDOW}, ring=3, sets=(maps(page(HOLE)),), refs=("mmio.x.perm_first",)),
    row("mmio.x.np_first",   "An access through an entry that is not present does not come out", LONG64, STORE4,
        faults(Vector.PF, 0x02, cr2=WINDOW, accesses=()),
        regs={"rbx": WINDOW}, sets=(maps(page(HOLE, present=False)),), priority=2),
    row("mmio.x.apic_page",  "With a local APIC in the kernel its page does not come out", LONG64, (LOAD_VERSION, AND_F0),
        completes(regs={"rax": 0x10}, accesses=()),
        regs={"rbx": WINDOW}, sets=(maps(page(LOCAL_APIC)),), irqchip=True),
    row("mmio.x.apic_page.none", "Without one it does",                   LONG64, (LOAD_VERSION, AND_F0),
        completes(regs={"rax": 0x80}, accesses=(mmio_read(LOCAL_APIC + 0x30, 4, DOUBLEWORD),)),
        regs={"rbx": WINDOW}, sets=(maps(page(LOCAL_APIC)),), answers=(device(LOCAL_APIC + 0x30),), refs=("mmio.x.apic_page",)),
    row("mmio.x.compat",     "A hole in compatibility mode",              COMPAT32, PROT,
        completes(regs={"rax": DOUBLEWORD}, accesses=(mmio_read(HOLE, 4, DOUBLEWORD), mmio_write(HOLE, 2, WORD), mmio_write(HOLE, 4, DOUBLEWORD))),
        regs={"rbx": HOLE}, answers=(device(),), priority=2),
    row("mmio.x.seg_base",   "The base of FS is part of the address",     LONG64, LOAD_FS,
        completes(regs={"rax": 0x3526_1708}, accesses=(mmio_read(HOLE + 8, 4, 0x3526_1708),)), sets=(msr(Msr.IA32_FS_BASE, HOLE),), answers=(device(),), priority=2),
    row("mmio.x.rip_rel",    "An address relative to RIP counts from the end of the instruction", LONG64, CALL,
        completes(regs={"rax": 0x3526_1708}, accesses=(mmio_read(HOLE + 8, 4, 0x3526_1708),)),
        regs={"rbx": VA}, sets=(maps(page()), maps(page(HOLE), 1)), fill={CELL: RIP_RELATIVE}, answers=(device(),), priority=2),
    row("mmio.x.sib",        "Each scale, and displacements of both signs and sizes", LONG64, SIB,
        completes(regs={"rax": 1, "rdx": 2, "rsi": 3, "rdi": 4},
                  accesses=(mmio_read(HOLE + 0x201C, 4, 1), mmio_read(HOLE + 0x2024, 4, 2), mmio_read(HOLE + 0x1FD0, 4, 3), mmio_read(HOLE + 0x10A0, 4, 4))),
        regs={"rbx": HOLE + 0x2000, "rcx": 0x14}, answers=(Answers("mmio", HOLE, 0x3000, (1, 2, 3, 4)),), priority=2),
    row("mmio.x.ioapic_page", "With an I/O APIC in the kernel its page does not come out", LONG64, (STORE_1, LOAD4),
        completes(regs={"rax": 1}, accesses=()), regs={"rbx": WINDOW}, sets=(maps(page(IO_APIC)),), irqchip=True, priority=2),
    row("mmio.x.ioapic_page.none", "Without one it does",                 LONG64, (STORE_1, LOAD4),
        completes(regs={"rax": DOUBLEWORD}, accesses=(mmio_write(IO_APIC, 4, 1), mmio_read(IO_APIC, 4, DOUBLEWORD))),
        regs={"rbx": WINDOW}, sets=(maps(page(IO_APIC)),), answers=(device(IO_APIC),), refs=("mmio.x.ioapic_page",), priority=2),
    row("mmio.x.hpet",       "No HPET is in the kernel: its page comes out", LONG64, LOAD4,
        completes(regs={"rax": DOUBLEWORD}, accesses=(mmio_read(HPET, 4, DOUBLEWORD),)),
        regs={"rbx": WINDOW}, sets=(maps(page(HPET)),), answers=(device(HPET),), irqchip=True, priority=2),
    row("mmio.x.fetch_cross", "An instruction that goes on in a hole ends the guest with an internal error", LONG64, JUMP,
        stops("internal error"), regs={"rbx": WINDOW + 0xFFE}, sets=(maps(page()), maps(page(HOLE), 1)), fill={FRAME + 0xFF8: 0x11B8 << 48}, priority=2),  # b8: MOV EAX, imm32
    row("mmio.x.fetch",      "A jump into a hole ends the guest with an internal error", LONG64, JUMP,
        stops("internal error"), regs={"rbx": HOLE}, answers=(device(),)),
)
# fmt: on
