"""What a register does, and what survives.

WRMSR to IA32_TIME_STAMP_COUNTER moves the counter, and IA32_TSC_ADJUST by as much; WRMSR to IA32_TSC_ADJUST moves the
counter by the difference.  RDTSCP and RDPID read IA32_TSC_AUX.  After reset EFER is 0, PAT 0007040600070406H, and the
BSP flag of IA32_APIC_BASE set on the first processor alone.

Rows compare what lies above bit 32: so much time does not pass in a row.
"""

from virtproof.conformance.areas.msr.refused import RDMSR, WRMSR
from virtproof.conformance.case import Case, Insn, completes, family, msr, programs_of
from virtproof.guest_payloads.trampoline import Mode
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.msr import Msr

CITE = (
    sdm("4", "Model-Specific Registers, 'Architectural MSRs'"),
    apm(2, "System Resources, 'Model-Specific Registers (MSRs)'"),
)
TIME = (
    sdm(
        "3B",
        "Debug, Branch Profile, TSC, and Intel Resource Director Technology (Intel RDT) Features, 'Time-Stamp Counter'",
    ),
    apm(2, "Debug and Performance Resources, 'Time-Stamp Counter'"),
)
RESET = (
    sdm("3A", "Processor Management and Initialization, 'Processor State After Reset'"),
    apm(2, "Processor Initialization and Long Mode Activation, 'Initial Processor State'"),
)
row, time, reset = family("msr", *CITE), family("msr", *TIME), family("msr", *RESET)
of = programs_of("msr", "msr", *CITE)

LONG64, REAL16 = Mode.LONG64, Mode.REAL16
RDTSC, RDTSCP, RDPID = Insn("0f 31", "rdtsc"), Insn("0f 01 f9", "rdtscp"), Insn("f3 0f c7 f8", "rdpid rax")
TSC, ADJUST = Insn("b9 10 00 00 00", "mov ecx, 0x10"), Insn("b9 3b 00 00 00", "mov ecx, 0x3b")
ZERO = (Insn("31 c0", "xor eax, eax"), Insn("31 d2", "xor edx, edx"))
FAR = (Insn("31 c0", "xor eax, eax"), Insn("ba 00 01 00 00", "mov edx, 0x100"))  # 2^40
JOIN = (Insn("48 c1 e2 20", "shl rdx, 0x20"), Insn("48 09 c2", "or rdx, rax"))  # EDX:EAX in RDX
KEEP = Insn("48 89 d7", "mov rdi, rdx")
DIFFERENCE = (Insn("48 29 fa", "sub rdx, rdi"), Insn("48 c1 fa 20", "sar rdx, 0x20"))
ADD = (Insn("81 c2 00 01 00 00", "add edx, 0x100"),)  # 2^40 to EDX:EAX
MARK = 0x1_2345
HIGH_ONLY = {"keeps": False}
TSC_KEPT = (msr(Msr.IA32_TSC_ADJUST, 0),)  # put back, and the counter with it

# fmt: off
CASES: tuple[Case, ...] = (
    time("msr.rw.tsc",               "The time-stamp counter takes a value",                  LONG64, (TSC, *FAR, WRMSR, RDMSR), completes(regs={"rdx": 0x100}, **HIGH_ONLY)),
    time("msr.eff.tsc_write",        "WRMSR moves the counter back, as RDTSC shows",          LONG64, (TSC, *FAR, WRMSR, *ZERO, WRMSR, RDTSC), completes(regs={"rdx": 0}, **HIGH_ONLY)),
    time("msr.eff.tsc_write.adjust", "TSC_ADJUST moves with the counter",                     LONG64, (TSC, *ZERO, WRMSR, ADJUST, RDMSR, *JOIN, KEEP, TSC, *FAR, WRMSR, ADJUST, RDMSR, *JOIN, *DIFFERENCE), completes(regs={"rdx": 0xFF}, **HIGH_ONLY), requires=("tsc_adjust",), sets=TSC_KEPT, refs=("msr.eff.tsc_write",)),
    time("msr.eff.tsc_adjust_write", "The counter moves with TSC_ADJUST",                     LONG64, (RDTSC, *JOIN, KEEP, ADJUST, RDMSR, *ADD, WRMSR, RDTSC, *JOIN, *DIFFERENCE), completes(regs={"rdx": 0x100}, **HIGH_ONLY), requires=("tsc_adjust",), sets=TSC_KEPT),
    row("msr.eff.tsc_aux_rdtscp",    "RDTSCP reads TSC_AUX into RCX",                         LONG64, RDTSCP, completes(regs={"rcx": MARK}, **HIGH_ONLY), regs={"rcx": 0x5A5A_5A5A << 32}, sets=(msr(Msr.IA32_TSC_AUX, MARK),), requires=("rdtscp",)),
    row("msr.eff.rdpid",             "RDPID reads TSC_AUX",                                   LONG64, RDPID,  completes(regs={"rax": MARK}), regs={"rax": 0x5A5A_5A5A << 32}, sets=(msr(Msr.IA32_TSC_AUX, MARK),), requires=("rdpid",), priority=2),
    reset("msr.eff.pat_reset",       "PAT after reset",                                       LONG64, RDMSR,  completes(regs={"rax": 0x0007_0406, "rdx": 0x0007_0406}), regs={"rcx": Msr.IA32_PAT}),
    reset("msr.eff.efer_reset.real16", "EFER after reset is 0",                               REAL16, RDMSR,  completes(regs={"rax": 0, "rdx": 0}), regs={"rcx": Msr.IA32_EFER}, refs=("msr.eff.efer_reset",)),
    of("msr.eff.apicbase_bsp",       "APIC_BASE names one bootstrap processor of four",       "bootstrap", (1, 0, 0, 0), 4, vcpus=4),
    of("msr.eff.kgs_exits",          "KERNEL_GS_BASE survives a port access and a halt",      "kernel_gs_base", (0x1234_5678_9ABC, 0x1234_5678_9ABC), 0x1234_5678_9ABC),
    row("msr.eff.spec_ctrl_exits",   "SPEC_CTRL survives a port access",                      LONG64, (Insn("e6 80", "out 0x80, al"), RDMSR), completes(regs={"rax": 1, "rdx": 0}), regs={"rcx": Msr.IA32_SPEC_CTRL}, sets=(msr(Msr.IA32_SPEC_CTRL, 1),), requires=("spec_ctrl",), priority=2),
    of("msr.gen.no_leak",            "No register that a guest can read holds an address of a kernel", "scan", (1, 0), seconds=60.0),
)
# fmt: on
