"""Control registers: Intel SDM vol. 3A, "Control Registers" and "Extended Control Registers"; AMD APM vol. 2, "System
Resources", "System-Control Registers".

Field names are the manuals' names in lower case.
"""

from virtproof.spec.bits import Bits, bit, bits


# fmt: off
class Cr0(Bits, width=64):
    """CR0 -- operating mode and states of the processor."""

    pe = bit(0,  "protected mode")
    mp = bit(1,  "WAIT/FWAIT raise #NM while TS is set")
    em = bit(2,  "x87 instructions raise #NM, SSE instructions #UD")
    ts = bit(3,  "x87 and SSE instructions raise #NM")
    et = bit(4,  "always 1 since the P6")
    ne = bit(5,  "x87 errors raise #MF")
    wp = bit(16, "supervisor writes obey the R/W bit of user pages and read-only pages")
    am = bit(18, "with RFLAGS.AC at CPL 3: alignment is checked")
    nw = bit(29, "not write-through; NW=1 with CD=0 raises #GP")
    cd = bit(30, "cache disable")
    pg = bit(31, "paging; needs PE")


class Cr3(Bits, width=64):
    """CR3 with CR4.PCIDE = 0 -- base of the paging structures; in long mode up to bit 51 (MAXPHYADDR - 1)."""

    pwt  = bit(3,       "page-level write-through")
    pcd  = bit(4,       "page-level cache disable")
    base = bits(51, 12, "physical frame of the top table; PAE paging uses bits 31:5 instead")
    lam_u57 = bit(61,   "linear-address masking for user pointers, bits 62:57")
    lam_u48 = bit(62,   "linear-address masking for user pointers, bits 62:48; LAM_U57 wins")


class Cr3Pcid(Bits, width=64):
    """CR3 with CR4.PCIDE = 1; bit 63 of the MOV source is a request (keep translations), never stored."""

    pcid    = bits(11, 0,  "process-context identifier")
    base    = bits(51, 12, "physical frame of the top table")
    lam_u57 = bit(61)
    lam_u48 = bit(62)


class Cr4(Bits, width=64):
    """CR4 -- architectural extensions."""

    vme        = bit(0,  "virtual-8086 mode extensions")
    pvi        = bit(1,  "protected-mode virtual interrupts")
    tsd        = bit(2,  "RDTSC and RDTSCP only at CPL 0")
    de         = bit(3,  "debugging extensions: DR4 and DR5 raise #UD, I/O breakpoints exist")
    pse        = bit(4,  "4 MiB pages in 32-bit paging")
    pae        = bit(5,  "physical address extension; long mode needs it")
    mce        = bit(6,  "machine check raises #MC; without it the processor shuts down")
    pge        = bit(7,  "global pages")
    pce        = bit(8,  "RDPMC at every CPL")
    osfxsr     = bit(9,  "FXSAVE/FXRSTOR save SSE state; SSE is usable")
    osxmmexcpt = bit(10, "SSE errors raise #XM; without it #UD")
    umip       = bit(11, "SGDT, SIDT, SLDT, SMSW, STR raise #GP outside CPL 0")
    la57       = bit(12, "5-level paging; changes only outside long mode")
    vmxe       = bit(13, "VMX; Intel only")
    smxe       = bit(14, "SMX; Intel only")
    fsgsbase   = bit(16, "RDFSBASE and relatives are usable")
    pcide      = bit(17, "process-context identifiers; long mode only")
    osxsave    = bit(18, "XSAVE and XGETBV are usable")
    kl         = bit(19, "key locker; Intel only")
    smep       = bit(20, "no supervisor fetch from user pages")
    smap       = bit(21, "no supervisor data access to user pages while AC = 0")
    pke        = bit(22, "protection keys for user pages")
    cet        = bit(23, "control-flow enforcement; needs CR0.WP")
    pks        = bit(24, "protection keys for supervisor pages; Intel only")
    uintr      = bit(25, "user interrupts; Intel only")
    lass       = bit(27, "linear-address-space separation; Intel only")
    lam_sup    = bit(28, "linear-address masking for supervisor pointers; Intel only")
    fred       = bit(32, "flexible return and event delivery")


class Cr8(Bits, width=64):
    """CR8 -- task priority, the upper half of the local APIC's TPR."""

    tpl = bits(3, 0)


class Efer(Bits, width=64):
    """IA32_EFER (MSR 0xC0000080) -- extended feature enables."""

    sce     = bit(0,  "SYSCALL and SYSRET are usable")
    lme     = bit(8,  "long mode enable")
    lma     = bit(10, "long mode active: LME and CR0.PG; not writable")
    nxe     = bit(11, "bit 63 of paging entries means no-execute")
    svme    = bit(12, "SVM instructions are usable; AMD only")
    lmsle   = bit(13, "segment limits in long mode; AMD only")
    ffxsr   = bit(14, "fast FXSAVE/FXRSTOR; AMD only")
    tce     = bit(15, "translation cache extension; AMD only")
    mcommit = bit(17, "MCOMMIT is usable; AMD only")
    intwb   = bit(18, "WBINVD and WBNOINVD can be interrupted; AMD only")
    uaie    = bit(20, "upper address ignore; AMD only")
    aibrse  = bit(21, "automatic IBRS; AMD only")


class Xcr0(Bits, width=64):
    """XCR0 -- which state components XSAVE manages; also the layout of CPUID.(0DH,0):EDX:EAX."""

    x87       = bit(0, "always 1")
    sse       = bit(1)
    avx       = bit(2, "needs SSE")
    bndreg    = bit(3, "MPX bounds registers; set and cleared with BNDCSR")
    bndcsr    = bit(4)
    opmask    = bit(5, "AVX-512; OPMASK, ZMM_Hi256 and Hi16_ZMM go together and need AVX")
    zmm_hi256 = bit(6)
    hi16_zmm  = bit(7)
    pkru      = bit(9)
    tilecfg   = bit(17, "AMX; goes with TILEDATA")
    tiledata  = bit(18)
    apx       = bit(19, "extended general-purpose registers")
    lwp       = bit(62, "lightweight profiling; AMD family 15h")
# fmt: on
