"""Call gates, and far returns.

A CALL through a gate goes to the gate's own target, whatever offset the instruction has.  The gate's DPL must not be below
CPL nor RPL: #GP(gate); it has to be present: #NP(gate); its code segment has to be one: #GP(0) where null, #GP(target)
where no code, #NP(target) where not present.  To an inner level it takes the stack of that level from the TSS, pushes SS
and ESP, copies parameters, and pushes CS and EIP; JMP does not go to an inner level.  In long mode a gate has 16 bytes and
leads to 64-bit code only, SS becomes null, and there are no parameters.

A far RET to an outer level pops SS and ESP too, and makes null each of DS, ES, FS and GS whose DPL is below the new level.
It never goes to an inner level.
"""

from virtproof.conformance.case import At, Insn, Part, Set, completes, family, faults, mem32, mem64
from virtproof.conformance.spare import CODE_ABSENT, GATE, GATE_ABSENT, GATE_DPL3, gate, spare
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector

row = family(
    "modes",
    sdm("3A", "Protection, 'Accessing a Code Segment Through a Call Gate'"),
    apm(2, "Segmented Virtual Memory, 'Control Transfers Through Call Gates'"),
    priority=2,
)
ret = family(
    "modes",
    sdm("3A", "Protection, 'Returning from a Called Procedure'"),
    apm(2, "Segmented Virtual Memory, 'Return Control Transfers'"),
)

PROT32, LONG64 = Mode.PROT32, Mode.LONG64
GP, NP = Vector.GP, Vector.NP

CALL, CALL_RPL3 = Insn("9a ad de 00 00 48 00", "lcall 0x48, 0xdead"), Insn("9a ad de 00 00 4b 00", "lcall 0x4b, 0xdead")
JMP = Insn("ea ad de 00 00 48 00", "ljmp 0x48:0xdead")
CALL_FAR = Insn("ff 1b", "call ptr [rbx]")
INC, INC_64 = Insn("41", "inc ecx"), Insn("ff c1", "inc ecx")
RET, RETQ = Insn("cb", "retf"), Insn("48 cb", "retfq")
READ = (Insn("8c d8", "mov eax, ds"), Insn("8c e1", "mov ecx, fs"))
MOV_FS = Insn("8e e0", "mov fs, eax")

KERNEL, RSP0, USER = At("kernel_stack_top"), At("rsp0_top"), At("user_stack_top")
K, U = At("kernel_data"), At("user_data")
TO_USER_END, TO_KERNEL_END = At("user_code", 8), At("kernel_code", 8)  # behind CALL and INC
RETURN_USER, RETURN_KERNEL = At("user_code", 7 + (0x23 << 32)), At("kernel_code", 7 + (0x08 << 32))  # EIP and CS
OLD_STACK = USER + (0x2B << 32)  # ESP and SS
THREE = (mem32(USER + -12, 0x1111), mem32(USER + -8, 0x2222), mem32(USER + -4, 0x3333))
POINTER_USER, POINTER_KERNEL = (mem64(U, 0x48 << 32),), (mem64(K, 0x48 << 32),)  # m16:32


def returns_to(cs: int, eip: At, ss: int = 0x2B, esp: At = USER) -> tuple[Set, ...]:
    """What a far RET pops, with ESP 16 below the top: EIP, CS, ESP, SS."""
    return mem64(KERNEL + -16, eip + (cs << 32)), mem64(KERNEL + -8, esp + (ss << 32))


POPS = {"rsp": KERNEL + -16}

# fmt: off
CASES = (
    row("mode.far.same",     "CALL on the same level: the gate's target, and CS:EIP pushed",   PROT32, (CALL, INC), completes(cs=0x08, regs={"rsp": KERNEL + -8}, memory={KERNEL + -8: RETURN_KERNEL}), sets=gate(GATE, 0x08, TO_KERNEL_END)),
    row("mode.far.inner",    "CALL from ring 3 to ring 0: SS0:ESP0 with SS, ESP, CS and EIP",  PROT32, (CALL, INC), completes(cs=0x08, ss=0x10, rsp=RSP0 + -16, regs={"rsp": RSP0 + -16}, memory={RSP0 + -16: RETURN_USER, RSP0 + -8: OLD_STACK}), ring=3, sets=gate(GATE_DPL3, 0x08, TO_USER_END), priority=1),
    row("mode.far.params",   "CALL with three parameters: they lie above CS and EIP",          PROT32, (CALL, INC), completes(cs=0x08, regs={"rsp": RSP0 + -28}, memory={RSP0 + -28: RETURN_USER, RSP0 + -20: 0x2222_0000_1111, RSP0 + -8: OLD_STACK + -12, RSP0 + -12: (Part("the third parameter", 0, 4, 0x3333, -1),)}),
        ring=3, regs={"rsp": USER + -12}, sets=(*gate(GATE_DPL3, 0x08, TO_USER_END, count=3), *THREE)),
    row("mode.far.dpl",      "CALL from ring 3, a gate of DPL 0",            PROT32, CALL,      faults(GP, 0x48), ring=3, sets=gate(GATE, 0x08, TO_USER_END), priority=1),
    row("mode.far.rpl",      "CALL with RPL 3, a gate of DPL 0",             PROT32, CALL_RPL3, faults(GP, 0x48), sets=gate(GATE, 0x08, TO_KERNEL_END)),
    row("mode.far.np",       "CALL, the gate is not present",                PROT32, CALL,      faults(NP, 0x48), sets=gate(GATE_ABSENT, 0x08, TO_KERNEL_END), priority=1),
    row("mode.far.cs_null",  "CALL, a gate to a null selector",              PROT32, CALL,      faults(GP, 0),    sets=gate(GATE, 0, TO_KERNEL_END)),
    row("mode.far.cs_np",    "CALL, a gate to code that is not present",     PROT32, CALL,      faults(NP, 0x58), sets=(*gate(GATE, 0x58, TO_KERNEL_END), *spare(CODE_ABSENT, 2))),
    row("mode.far.cs_data",  "CALL, a gate to data",                         PROT32, CALL,      faults(GP, 0x10), sets=gate(GATE, 0x10, TO_KERNEL_END)),
    row("mode.far.jmp_inner", "JMP from ring 3, a gate to ring 0",           PROT32, JMP,       faults(GP, 0x08), ring=3, sets=gate(GATE_DPL3, 0x08, TO_USER_END)),

    row("mode.far.long_inner", "CALL from ring 3 to ring 0: RSP0, SS null, quadwords",         LONG64, (CALL_FAR, INC_64), completes(cs=0x08, ss=0, regs={"rsp": RSP0 + -32}, memory={RSP0 + -32: At("user_code", 2), RSP0 + -24: 0x33, RSP0 + -16: USER, RSP0 + -8: 0x2B}),
        ring=3, regs={"rbx": U}, sets=(*gate(GATE_DPL3, 0x08, At("user_code", 4)), *POINTER_USER), priority=1),
    row("mode.far.long_upper", "CALL, a gate with a type in its upper half", LONG64, CALL_FAR,  faults(GP, 0x48), regs={"rbx": K}, sets=(*gate(GATE, 0x08, TO_KERNEL_END, upper=0x1F << 40), *POINTER_KERNEL)),
    row("mode.far.long_nc",  "CALL, a gate to an address that is not canonical", LONG64, CALL_FAR, faults(GP, 0), regs={"rbx": K}, sets=(*gate(GATE, 0x08, TO_KERNEL_END, upper=0x8000), *POINTER_KERNEL)),
    row("mode.far.long_limit", "CALL, a gate of which 8 bytes lie in the GDT", LONG64, CALL_FAR, faults(GP, 0xA0), regs={"rbx": K}, sets=(mem64(At("gdt", 0xA0), 0x0001_8C00_0008_5000), mem64(K, 0xA0 << 32)), priority=3),
    row("mode.far.long_cs32", "CALL, a gate to 32-bit code",                 LONG64, CALL_FAR,  faults(GP, 0x18), regs={"rbx": K}, sets=(*gate(GATE, 0x18, TO_KERNEL_END), *POINTER_KERNEL)),

    ret("mode.far.ret_inner",    "RET to ring 3 pops SS:ESP and empties DS, whose DPL is 0", PROT32, (MOV_FS, RET, INC, *READ), completes(cs=0x23, ss=0x2B, rsp=USER, regs={"rax": 0, "rcx": 0x2B, "rsp": USER}), regs=POPS | {"rax": 0x2B}, sets=returns_to(0x23, At("kernel_code", 4))),
    ret("mode.far.ret_to_inner", "RET from ring 3 to ring 0",                PROT32, RET,       faults(GP, 0x08), ring=3, regs={"rsp": USER + -8}, sets=(mem64(USER + -8, At("user_code", 8 << 32)),)),
    ret("mode.far.ret_null",     "RET to a null selector",                   PROT32, RET,       faults(GP, 0),    regs=POPS, sets=returns_to(0, At("kernel_code")), priority=2),
    ret("mode.far.ret_ss_null",  "RET to ring 3 with a null SS",             PROT32, RET,       faults(GP, 0),    regs=POPS, sets=returns_to(0x23, At("kernel_code"), ss=0), priority=2),
    ret("mode.far.ret_cs_np",    "RET to code that is not present",          PROT32, RET,       faults(NP, 0x48), regs=POPS, sets=(*spare(CODE_ABSENT), *returns_to(0x48, At("kernel_code"))), priority=3),
    ret("mode.far.retq_nc",      "RET to an address that is not canonical",  LONG64, RETQ,      faults(GP, 0),    regs=POPS, sets=(mem64(KERNEL + -16, 1 << 47), mem64(KERNEL + -8, 8)), priority=2),
)
# fmt: on
