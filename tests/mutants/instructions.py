"""The processor carries instructions out wrongly, or lets those do it that may not."""

from __future__ import annotations

from typing import Any

from tests.mutants.mutant import Mutant, of, replaced, wrapped
from tests.mutants.processor import (
    Where,
    after,
    exceptions,
    flip,
    flip_pushed,
    flip_register,
    flip_regs,
    instead,
    outer,
    refuse,
    skip,
    stimulus,
)
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.vmm.engines.software import execution, fast_calls
from virtproof.vmm.engines.software.cpu import CS, RSP, SS, Cpu
from virtproof.vmm.engines.software.decode import Instruction, operand
from virtproof.vmm.engines.software.execution import Execution
from virtproof.vmm.engines.software.privileged import Privileged

mutant = of("privileged", "sensitive")
IF, IOPL, ZF = Rflags.if_.mask, 3 << 12, 1 << 6
PORTS = "e4|e5|e6|e7|ec|ed|ee|ef|6c|6d|6e|6f"


def in_ring(ring: int) -> Where:
    return lambda run, insn: stimulus(run, insn) and run._cpu.protected and run._cpu.cpl == ring


def user_cs(run: Execution, insn: Instruction) -> bool:
    return in_ring(3)(run, insn) and insn.modrm >> 3 & 7 == 1


def kernel_cs(run: Execution, insn: Instruction) -> bool:
    return in_ring(0)(run, insn) and insn.modrm >> 3 & 7 == 1


def popf_changes(mask: int) -> Any:
    """POPF takes the bits from the stack, whatever the ring."""

    def change(run: Execution, insn: Instruction) -> None:
        state = run._cpu.state
        width = 8 if run._cpu.code64 else 4
        popped = run._memory.read(run._cpu.linear(SS, state.regs[RSP] - width), 4)
        state.rflags = state.rflags & ~mask | popped & mask

    return change


def toggle_flag(mask: int) -> Any:
    def change(run: Execution, insn: Instruction) -> None:
        run._cpu.state.rflags ^= mask

    return change


def closed_ports(run: Execution, insn: Instruction) -> bool:
    return outer(run, insn) and not run._privileged._port_allowed(insn)


def one_bit(original: Any, self: Privileged, insn: Instruction) -> bool:
    return bool(original(self, insn._replace(opcode=insn.opcode & ~1)))


def no_iopl(original: Any, self: Privileged, insn: Instruction) -> bool:
    flags = self._cpu.state.rflags
    self._cpu.state.rflags = flags & ~IOPL
    try:
        return bool(original(self, insn))
    finally:
        self._cpu.state.rflags = flags


def bitmap_ignored(original: Any, self: Privileged, insn: Instruction) -> bool:
    cpu = self._cpu
    return not cpu.protected or cpu.cpl <= cpu.state.rflags >> 12 & 3


def next_port(original: Any, self: Privileged, insn: Instruction) -> bool:
    regs = self._cpu.state.regs
    regs[2] += 1
    try:
        return bool(original(self, insn))
    finally:
        regs[2] -= 1


def syscall(before: Any = lambda cpu: None, behind: Any = lambda cpu: None) -> Any:
    def around(original: Any, cpu: Cpu, **rest: Any) -> None:
        before(cpu)
        original(cpu, **rest)
        behind(cpu)

    return wrapped(fast_calls, "syscall", around)


def set_register(number: int, value: Any) -> Any:
    def change(cpu: Cpu) -> None:
        cpu.state.regs[number] = value(cpu.state.regs[number])

    return change


def enable(cpu: Cpu) -> None:
    cpu.state.efer |= 1


def keep_if(cpu: Cpu) -> None:
    cpu.state.rflags |= IF


def _skipped(run: Execution, opcodes: tuple[int, ...]) -> bool:
    """Is the instruction of a fault one of these?  It is then done with."""
    address = run._words.address
    code = run._memory.peek(address, 15)
    insn = execution.decode(code, run._cpu.code_bits)
    if insn is None or insn.opcode not in opcodes or not stimulus(run, insn):
        return False
    run._cpu.complete(_length(code, run._cpu.code_bits))
    return True


def _length(code: bytes, bits: int) -> int:
    import capstone

    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits]
    found = next(capstone.Cs(capstone.CS_ARCH_X86, mode).disasm(code, 0, 1), None)
    return int(found.size) if found is not None else 1


def _high(run: Execution, insn: Instruction) -> bool:
    found = operand(run._cpu, insn)
    return found is not None and found.address >> 47 == 0x1FFFF


def _no_long(run: Execution) -> None:
    state = run._cpu.state
    state.segments[CS].flags ^= 1 << 21
    run._cpu.refresh()


def pe_cleared(run: Execution, insn: Instruction) -> None:
    state = run._cpu.state
    state.cr[0] = state.cr[0] & ~0xF | run._privileged._register(insn) & 0xF
    run._cpu.refresh()
    skip(run, insn)


def null_into(number: int) -> Where:
    """MOV of a null selector to a segment register."""
    return lambda run, insn: (
        stimulus(run, insn) and insn.modrm >> 3 & 7 == number and run._privileged._selector(insn) < 4
    )


def esp_kept(original: Any, cpu: Cpu, **rest: Any) -> None:
    before = cpu.state.regs[RSP]
    original(cpu, **rest)
    cpu.state.regs[RSP] = before


TRAPPED = (
    ("lgdt", "0f 01 /2"), ("lidt", "0f 01 /3"), ("lldt", "0f 00 /2"), ("ltr", "0f 00 /3"), ("clts", "0f 06"), ("mov_to_cr", "0f 22"),
    ("mov_from_cr", "0f 20"), ("mov_to_dr", "0f 23"), ("mov_from_dr", "0f 21"), ("wbinvd", "0f 09"), ("invlpg", "0f 01 /7"), ("hlt", "f4"),
    ("rdmsr", "0f 32"), ("wrmsr", "0f 30"), ("swapgs", "0f 01 f8"), ("xsetbv", "0f 01 d1"), ("cli", "fa"), ("sti", "fb"), ("lmsw", "0f 01 /6"), ("invd", "0f 08"),
)  # fmt: skip
CAUGHT = {
    "mov_to_cr": "priv.mov_to_cr0.cpl3.long64", "mov_from_cr": "priv.mov_from_cr3.cpl3.long64", "mov_to_dr": "priv.mov_to_dr7.cpl3.long64",
    "mov_from_dr": "priv.mov_from_dr6.cpl3.long64",
}  # fmt: skip


def privileged(name: str, code: str) -> Mutant:
    caught = CAUGHT.get(name, f"priv.{name}.cpl3.long64")
    what = name.upper().replace("_", " ").replace("CR", "a control register").replace("DR", "a debug register")
    return mutant(f"priv.{name}", f"{what} does not trap at CPL 3", instead(code, skip, outer), caught)


# fmt: off
MUTANTS = (
    *(privileged(name, code) for name, code in TRAPPED),
    mutant("priv.in_out",        "Neither IOPL nor the bitmap counts for IN and OUT",       replaced(Privileged, "_port_allowed", lambda self, insn: True), "priv.in_al.cpl3.long64"),
    mutant("io.iopl",            "IOPL is ignored: the bitmap alone decides",               wrapped(Privileged, "_port_allowed", no_iopl),            "priv.io.iopl3.long64"),
    mutant("io.bitmap",          "The I/O permission bitmap is ignored: IOPL alone decides", wrapped(Privileged, "_port_allowed", bitmap_ignored),   "priv.io.bm_allow.long64"),
    mutant("io.one_bit",         "One bit of the bitmap is looked at, whatever the size",   wrapped(Privileged, "_port_allowed", one_bit),            "priv.io.bm_word.long64"),
    mutant("io.next_port",       "The bitmap's bit is that of the next port",               wrapped(Privileged, "_port_allowed", next_port),          "priv.io.bm_cross.long64"),
    mutant("io.ring0",           "OUT is refused at CPL 0 where IOPL is 0",                 instead(PORTS, refuse(Vector.GP), in_ring(0)),            "priv.io.cpl0_ignores.long64", "pio"),
    mutant("flags.popf_if",      "POPF changes IF at CPL 3 with IOPL 0",                    after("9d", popf_changes(IF), in_ring(3)),                "priv.flags.popf_if_iopl0"),
    mutant("flags.popf_iopl",    "POPF changes IOPL at CPL 3",                              after("9d", popf_changes(IOPL), in_ring(3)),              "priv.flags.popf_iopl"),
    mutant("flags.sti_iopl3",    "STI traps at CPL 3 with IOPL 3",                          instead("fb", refuse(Vector.GP), in_ring(3)),             "priv.flags.sti_iopl3"),
    mutant("flags.cli",          "CLI leaves IF set",                                       after("fa", toggle_flag(IF), stimulus),                   "sens.misc.pushf_if0"),
    mutant("flags.sti",          "STI leaves IF clear",                                     after("fb", toggle_flag(IF), stimulus),                   "sens.misc.pushf_if1"),
    mutant("flags.pushf",        "PUSHF shows IF inverted at CPL 3",                        after("9c", flip_pushed(IF), in_ring(3)),                 "sens.misc.pushf_cpl3"),
    mutant("rdtsc.tsd",          "RDTSC traps at CPL 3 whatever CR4.TSD says",              instead("0f 31", refuse(Vector.GP), in_ring(3)),          "priv.rdtsc_tsd0.again.cpl3.long64"),

    mutant("sens.sgdt",          "SGDT shows another base",                                 after("0f 01 /0", flip(1 << 24)),                         "sens.sgdt.cpl0.long64"),
    mutant("sens.sidt",          "SIDT shows another base",                                 after("0f 01 /1", flip(1 << 24)),                         "sens.sidt.cpl0.long64"),
    mutant("sens.sldt",          "SLDT shows another selector",                             after("0f 00 /0", flip(8, 2)),                            "sens.sldt.cpl0.long64"),
    mutant("sens.str",           "STR shows another selector",                              after("0f 00 /1", flip(8, 2)),                            "sens.str.cpl0.long64"),
    mutant("sens.smsw",          "SMSW shows TS inverted",                                  after("0f 01 /4", flip(8, 2)),                            "sens.smsw.cpl0.long64", "modes"),
    mutant("sens.smsw_cpl3",     "SMSW traps at CPL 3 without UMIP",                        instead("0f 01 /4", refuse(Vector.GP), outer),            "sens.smsw.cpl3.long64"),
    mutant("sens.lar",           "LAR clears ZF where it finds a descriptor",               after("0f 02", toggle_flag(ZF)),                          "sens.misc.sysfs_hidden"),
    mutant("sens.cs_cpl3",       "MOV from CS shows RPL 0 at CPL 3",                        after("8c", flip(3), user_cs),                            "sens.misc.mov_cs_cpl3"),
    mutant("sens.cs_cpl0",       "MOV from CS shows RPL 3 at CPL 0",                        after("8c", flip(3), kernel_cs),                          "sens.misc.mov_cs_rpl"),
    mutant("sens.push_cs",       "PUSH CS shows another RPL",                               after("0e", flip_pushed(3)),                              "sens.misc.push_cs32"),

    mutant("syscall.sce",        "SYSCALL enters with EFER.SCE = 0",                        syscall(enable),                                          "trap.ud.feat.syscall_sce0.long64", "traps", "msr", "modes"),
    mutant("syscall.rcx",        "SYSCALL saves its own RIP in RCX",                        syscall(behind=set_register(1, lambda value: value - 2)), "trap.ud.feat.syscall_sce1.long64", "traps", "msr", "modes"),
    mutant("syscall.r11",        "SYSCALL does not save RFLAGS in R11",                     syscall(behind=set_register(11, lambda value: 0)),        "trap.ud.feat.syscall_sce1.long64", "traps", "msr", "modes"),
    mutant("syscall.fmask",      "SYSCALL leaves IF set, whatever FMASK says",              syscall(behind=keep_if),                                  "mode.syscall.fmask", "traps", "msr", "modes"),
    mutant("rdtscp.aux",         "RDTSCP brings something else than TSC_AUX",               after("0f 01 f9", flip_regs(rcx=1)),                      "msr.eff.tsc_aux_rdtscp", "msr"),

    Mutant("seg.load",           "MOV to a segment register is never refused: it does nothing then", exceptions(Vector.GP, lambda run, code: not _skipped(run, (0x8E,))), ("modes", "traps"), ("mode.seg.ds.limit",)),
    Mutant("seg.ds_null",        "A null selector cannot be loaded into DS",                instead("8e", refuse(Vector.GP), null_into(3)),           ("modes",), ("mode.seg.ds.null",)),
    Mutant("seg.ss_null",        "A null selector cannot be loaded into SS at CPL 0",       instead("8e", refuse(Vector.GP), null_into(2)),           ("modes",), ("mode.seg.ss.null64_cpl0",)),
    Mutant("far.rsp",            "A far CALL or JMP leaves another stack pointer",          after("9a|ea|ff /3|ff /5", flip_regs(rsp=16), stimulus),  ("modes", "sensitive"), ("mode.far.inner", "mode.task.jmp.prot32")),
    Mutant("iret.rsp",           "IRET brings another stack pointer",                       after("cf", flip_regs(rsp=16), stimulus),                 ("modes", "sensitive", "traps"), ("mode.iret.same64",)),
    Mutant("lmsw.pe",            "LMSW clears CR0.PE",                                      instead("0f 01 /6", pe_cleared, in_ring(0)),              ("modes",), ("mode.misc.lmsw_pe_clear",)),
    Mutant("swapgs.void",        "SWAPGS does nothing",                                     instead("0f 01 f8", skip, in_ring(0)),                    ("modes",), ("mode.misc.swapgs_exits",)),
    Mutant("sysenter.esp",       "SYSENTER leaves ESP alone",                               wrapped(fast_calls, "sysenter", esp_kept),                ("modes",), ("mode.sysenter.entry32",)),
    Mutant("cr0.pe",             "MOV to CR0 in real mode does nothing",                    instead("0f 22 /0", skip, lambda run, insn: stimulus(run, insn) and not run._cpu.protected), ("modes",), ("mode.trans.real_to_prot",)),
    Mutant("seg.np",             "A segment that is not present can be loaded",             exceptions(Vector.NP, lambda run, code: not _skipped(run, (0x8E, 0x0F00, 0xFF, 0xEA))), ("modes", "traps"), ("mode.seg.ds.np",)),
    Mutant("seg.ss",             "#SS of a segment load is not raised",                     exceptions(Vector.SS, lambda run, code: not _skipped(run, (0x8E,))), ("modes", "traps"), ("mode.seg.ss.np",)),
    Mutant("seg.far",            "A far JMP is never refused: it goes on behind itself",    exceptions(Vector.GP, lambda run, code: not _skipped(run, (0xFF, 0xEA))), ("modes", "traps"), ("mode.seg.cs.null",)),
    Mutant("seg.ltr",            "LTR and LLDT are never refused at CPL 0",                 instead("0f 00 /2|0f 00 /3", skip, in_ring(0)),           ("modes", "sensitive"), ("mode.seg.ltr.busy",)),
    Mutant("iret.nt",            "IRET with NT = 1 is skipped in long mode",                exceptions(Vector.GP, lambda run, code: not _skipped(run, (0xCF,))), ("modes", "traps"), ("mode.iret.nt64",)),
    Mutant("canon.load",         "An address that is not canonical reads nothing and does not fault", exceptions(Vector.GP, lambda run, code: code != 0 or not _skipped(run, (0x8B, 0x89, 0x8A))), ("modes", "traps"), ("mode.canon.load",)),
    Mutant("canon.ss",           "The stack at an address that is not canonical raises #GP", replaced(execution, "corrected", lambda cpu, vector, code, address, insn: vector), ("modes", "traps"), ("mode.canon.rbp",)),
    Mutant("canon.ret",          "RET to an address that is not canonical faults there",    wrapped(execution, "corrected", lambda original, cpu, vector, code, address, insn: vector if insn is not None and insn.opcode in (0xC3, 0xFF) else original(cpu, vector, code, address, insn)), ("modes", "traps"), ("mode.canon.ret",)),
    Mutant("canon.bit47",        "Bit 47 of an address set is not canonical",               instead("8b|8a|48", refuse(Vector.GP), lambda run, insn: stimulus(run, insn) and _high(run, insn)), ("modes",), ("mode.canon.bit47_hi",)),
    Mutant("compat.rex",         "48H is a prefix in compatibility mode",                   instead("48", skip, lambda run, insn: stimulus(run, insn) and not run._cpu.code64), ("modes",), ("mode.trans.compat_dec",)),
    Mutant("compat.swapgs",      "SWAPGS runs in compatibility mode",                       instead("0f 01 f8", skip, lambda run, insn: stimulus(run, insn) and not run._cpu.code64), ("modes",), ("mode.trans.compat_swapgs",)),
    Mutant("compat.far",         "A far JMP does not change CS.L",                          after("ff /5|ea", lambda run, insn: _no_long(run), stimulus), ("modes",), ("mode.trans.compat_to_long",)),
    Mutant("cpuid.flags",        "CPUID changes CF",                                        after("0f a2", toggle_flag(1)),                           ("cpuid",), ("cpuid.serialize_rip",)),
    Mutant("cpuid.upper",        "CPUID leaves bits 63:32 of RAX alone",                    after("0f a2", flip_regs(rax=1 << 63)),                   ("cpuid",), ("cpuid.regs_zeroext",)),
    Mutant("load.upper",         "A load of 32 bits does not clear the upper half",         after("8b", flip_register(1 << 63), lambda run, insn: stimulus(run, insn) and not insn.rex & 8), ("mmio", "second_level"), ("mmio.form.mov_load4",)),
)
# fmt: on
