"""The differences that are understood, one row each.  docs/references.md explains the columns."""

from __future__ import annotations

from virtproof.lab.references.differences import ANSWER, Kind, Known

KNOWN: tuple[Known, ...] = (
    # Bochs.  Sources are files of Bochs 3.0.
    Known(
        id="bochs-no-msr", on="bochs *", kind=Kind.LIMIT,
        cases=("msr.rw.misc_enable", "msr.rw.debugctl", "msr.rw.mc0_*", "trap.db.tf_wrmsr_btf*", "priv.rdpmc_pce0.cpl0.*"), fields=("exception", ANSWER, "rax", "rdi"),
        reason="IA32_MISC_ENABLE cannot be written; there is no IA32_DEBUGCTL, no performance counter and no bank of machine-check registers",
        source="cpu/msr.cc, BX_CPU_C::rdmsr() and wrmsr()",
    ),
    Known(
        id="bochs-msr-high-half", on="bochs *", kind=Kind.EMULATOR_BUG,
        cases=("msr.rsvd.tsc_aux",), fields=("exception",), saw=("completes",),
        reason="the reserved upper half of IA32_TSC_AUX is taken",
        source="cpu/msr.cc, BX_CPU_C::wrmsr(): BX_MSR_TSC_AUX",
    ),
    Known(
        id="bochs-step-over-syscall", on="bochs *", kind=Kind.EMULATOR_BUG,
        cases=("trap.db.tf_syscall_mask.long64",), fields=("exception",),
        reason="the step over SYSCALL is decided before IA32_FMASK clears TF",
        source="cpu/event.cc, BX_CPU_C::handleAsyncEvent(): get_TF() before the instruction",
    ),
    # QEMU's own processor.  Sources are files of QEMU 7.2.
    Known(
        id="qemu-rf", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("*",), fields=("saved RFLAGS bits set", "memory at rsp0_top*"), bits=0x1_0000_0001_0000,
        reason="the flags that a fault saves never have RF set",
        source="target/i386/tcg/seg_helper.c, do_interrupt_all(): pushes cpu_compute_eflags() as it is",
    ),
    Known(
        id="qemu-rsvd-p", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("pg.*",), fields=("error code",), bits=0x1,
        reason="the page fault of a reserved bit has P clear in its error code",
        source="target/i386/tcg/sysemu/excp_helper.c, mmu_translate(): do_fault_rsvd",
    ),
    Known(
        id="qemu-idt-error-code", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.idt.*.long64*",), fields=("error code",),
        reason="in long mode the error code of a bad gate is the vector times 16, not times 8",
        source="target/i386/tcg/seg_helper.c, do_interrupt64(): intno * 16 + 2",
    ),
    Known(
        id="qemu-ext", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.idt.ext_np.prot32",), fields=("error code",), bits=0x1,
        reason="EXT is not set in the error code of a fault during the delivery of an exception",
        source="target/i386/tcg/seg_helper.c, do_interrupt_protected()",
    ),
    Known(
        id="qemu-reserved-bits", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("mode.cr.*", "mode.efer.*", "msr.rsvd.*"), fields=("exception",), saw=("completes",),
        reason="reserved bits of control registers, EFER and MSRs, and addresses that are not canonical, are taken",
        source="target/i386/tcg/sysemu/misc_helper.c, helper_write_crN() and helper_wrmsr()",
    ),
    Known(
        id="qemu-cr-takes-guest-down", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("mode.cr.cr0_pg_off_64", "mode.cr.cr0_pg_pe0", "mode.cr.cr4_rsvd", "mode.cr.cr4_pae_off_lm", "mode.cr.cr3_bit63_nopcid"),
        fields=(ANSWER,),
        reason="a value of CR0, CR3 or CR4 that must be refused is taken, and the guest is gone",
        source="target/i386/tcg/sysemu/misc_helper.c, helper_write_crN()",
    ),
    Known(
        id="qemu-unknown-msr", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("msr.gen.unknown_*",),
        reason="an MSR that does not exist reads as 0 and takes writes",
        source="target/i386/tcg/sysemu/misc_helper.c, helper_rdmsr() and helper_wrmsr(): default",
    ),
    Known(
        id="qemu-tsc", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("msr.rw.tsc",), fields=("rdx",),
        reason="the time-stamp counter takes no value",
        source="target/i386/tcg/sysemu/misc_helper.c, helper_wrmsr(): no MSR_IA32_TSC",
    ),
    Known(
        id="qemu-nxe-off", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("pg.ctl.nxe_toggle",), fields=("r9",), bits=0x100,
        reason="EFER.NXE goes off without the translations that were made with it",
        source="target/i386/tcg/sysemu/misc_helper.c, helper_wrmsr(): MSR_EFER",
    ),
    Known(
        id="qemu-canonical", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("mode.canon.*",),
        reason="no #GP at the branch to an address that is not canonical, and #GP for #SS at a stack access",
        source="target/i386/tcg/sysemu/excp_helper.c, get_physical_address(): EXCP0D_GPF for all of them",
    ),
    Known(
        id="qemu-ltr-null", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("mode.seg.ltr.null",), fields=("exception",), saw=("completes",),
        reason="LTR takes a null selector",
        source="target/i386/tcg/seg_helper.c, helper_ltr(): NULL selector case: invalid TR",
    ),
    Known(
        id="qemu-no-ac", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.ac.*",),
        reason="there is no #AC",
        source="target/i386/tcg/translate.c: accesses are made without alignment",
    ),
    Known(
        id="qemu-no-xm", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.xm.*",), fields=("exception",), saw=("completes",),
        reason="there is no #XM: SSE never raises an exception",
        source="target/i386/ops_sse.h: no check of MXCSR after an operation",
    ),
    Known(
        id="qemu-icebp", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.*icebp*",), fields=("exception",), saw=("#UD *",),
        reason="INT1 is not decoded",
        source="target/i386/tcg/translate.c, disas_insn(): case 0xf1",
    ),
    Known(
        id="qemu-dr-gd", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.db.gd*",),
        reason="DR7.GD does not guard the debug registers",
        source="target/i386/tcg/translate.c, disas_insn(): MOV from and to DR check the privilege level alone",
    ),
    Known(
        id="qemu-db-merged", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.db.bs_plus_b0.long64",),
        reason="a data breakpoint and a single step of one instruction are two exceptions",
        source="target/i386/tcg/sysemu/bpt_helper.c, breakpoint_handler()",
    ),
    Known(
        id="qemu-lock", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.ud.lock_mov.long64", "cpuid.lock"),
        reason="LOCK is taken before MOV and CPUID",
        source="target/i386/tcg/translate.c, disas_insn(): the prefix is checked for some instructions",
    ),
    Known(
        id="qemu-limits", on="qemu *", kind=Kind.EMULATOR_BUG,
        cases=("trap.real.gp_limit*", "mode.trans.pm16_limit*", "priv.vm86.limit"),
        reason="segment limits of data accesses are not checked",
        source="target/i386/tcg/translate.c, gen_lea_v_seg(): adds the base",
    ),
    # Linux's kvm_pvm: ring 3 runs natively, the rest in KVM's instruction emulator.
    Known(
        id="pvm-no-iret32", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("*.prot32", "priv.vm86.*", "mode.trans.pm16_*"), fields=(ANSWER,), saw=("KVM internal error EMULATION *iretd",),
        reason="IRET of protected mode is not emulated, so rings 1 to 3 and virtual-8086 mode cannot be entered there",
        source="Linux arch/x86/kvm/emulate.c, em_iret(): real mode only",
    ),
    Known(
        id="pvm-emulator-lacks-insn", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("*",), fields=(ANSWER, "the guest ends with"), saw=("KVM internal error EMULATION *",),
        reason="ring 0 is interpreted by an emulator that lacks INT n, BOUND, far returns, x87, SSE, XGETBV, LAR, LSL, VERR, VERW and more",
        source="Linux arch/x86/kvm/emulate.c, opcode tables; docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-no-paging32", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("pg.p32.*", "pg.pae.*", "*.pae32", "mode.trans.pm16"), fields=(ANSWER,), saw=("shutdown (triple fault)",),
        reason="a guest outside long mode shuts down when it has paging on, or when it leaves protected mode",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-int-n", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.soft.int_n.*", "trap.stack.*", "trap.idt.int_dpl.long64", "trap.idt.dpl_int3.long64.ring3", "trap.idt.dpl_int1.*", "trap.soft.int_imm1.ring3", "*icebp*.ring3", "sens.misc.int_cs_rpl"),
        reason="INT n of ring 3 is #UD, the DPL of its gates is ignored, and INT1 saves its own address",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-gates", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.idt.ext_type.*", "trap.idt.ext_cs_np.*"), fields=("exception", "rsp"),
        reason="exceptions are delivered through gates of no type, and to code segments that are not present",
        source="seen on Linux 6.18",
    ),
    Known(
        id="pvm-idt-page", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.idt.pf_in_delivery.*", "trap.df.de_then_pf.long64"), fields=(ANSWER,), saw=("shutdown (triple fault)",),
        reason="a page fault of the interrupt table itself takes the guest down",
        source="seen on Linux 6.18",
    ),
    Known(
        id="pvm-flags", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("priv.flags.*", "trap.db.tf_syscall.long64", "priv.io.iopl*", "priv.cli.iopl2*", "pio.x.ring3_iopl3", "sens.misc.pushf_*"),
        reason="rings 1 to 3 see IF set and IOPL 0, and POPF, CLI, STI, IN and OUT go by that",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-cr-bits-ring3", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.ac.am*", "trap.nm.fpu_ts.ring3", "priv.rdtsc_tsd.*"),
        reason="ring 3 runs with the host's CR0.AM, CR0.TS and CR4.TSD",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-host-gdt", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("sens.misc.lar_scan_cpl3", "sens.lar.*"), fields=("r?x",),
        reason="ring 3 runs with the host's GDT, which LAR shows",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-debug", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.db.*",), fields=("exception", "saved RIP", "saved RFLAGS bits clear", "memory at kernel_stack_top*", "DR6 bits set", "r[cds][xi]"),
        reason="breakpoints on data and ports never hit, OUT and MMIO stores are not stepped, REP is stepped as a whole, MOV SS does not hold a trap back, there is no BTF",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-double-fault", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.df.*", "trap.idt.ext_np.*"), fields=("exception",),
        reason="#NP on #UD and #PF on #GP become #DF, #GP on #PF does not",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-isr", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("int.lapic.*", "int.ioapic.level*"), fields=("observations",),
        reason="bits of the local APIC's ISR are never set: nesting, the order of EOIs and level lines go wrong",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-interrupt-window", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.shadow.*", "int.user.window"), fields=("exception",), saw=("completes",),
        reason="an interrupt window that opens is noticed at the next exit only",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-emulates", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("claim.backend",),
        reason="every instruction of ring 0 is an emulation, as KVM counts it",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-cpuid", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("cpuid.leaf7_hidden", "cpuid.cpl3", "cpuid.faulting", "cpuid.set_equals_seen", "cpuid.get_cpuid2", "cpuid.subset"),
        reason="guests see features of the processor that KVM does not offer and the monitor did not set; at ring 3 CPUID is the processor's own",
        source="seen on Linux 6.18",
    ),
    Known(
        id="pvm-tsc", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("msr.rw.tsc", "msr.eff.tsc_*"), fields=("rdx",),
        reason="guests read the processor's own time-stamp counter, whatever they or the monitor wrote",
        source="seen on Linux 6.18",
    ),
    Known(
        id="pvm-unreadable-slot", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("slat.hva_unmapped",),
        reason="a slot on memory that the host cannot read is taken for a hole",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-real-mode-limit", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.real.*",),
        reason="the limit of the real-mode interrupt vector table is ignored",
        source="Linux arch/x86/kvm/emulate.c, __emulate_int_real()",
    ),
    Known(
        id="pvm-split-store", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("pg.acc.cross_second_fault", "pg.acc.lock_cross_fault"), fields=("memory at *",),
        reason="a store over the end of a page writes its first part before the second page faults",
        source="Linux arch/x86/kvm/x86.c, emulator_read_write(): page by page",
    ),
    Known(
        id="pvm-canonical-span", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("mode.canon.span",), fields=("exception",),
        reason="an access over the edge of the canonical range gives #PF",
        source="Linux arch/x86/kvm/emulate.c, __linearize(): checks the first byte",
    ),
    Known(
        id="pvm-unchecked", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("mode.cr.cr0_hi", "msr.rsvd.pat", "mode.trans.compat_swapgs", "priv.swapgs.cpl1.*", "trap.ud.feat.rdfsbase_off.long64"), fields=("exception", "rax"), saw=("completes", "0x0"),
        reason="CR0 bit 32, PAT type 2, SWAPGS in compatibility mode and at ring 1, and RDFSBASE with CR4.FSGSBASE = 0 are taken",
        source="docs/hosts.md, kvm_pvm",
    ),
    Known(
        id="pvm-level-first", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("priv.swapgs.cpl3.compat32", "priv.mwait.cpl3.*", "priv.vm86.long_absent"), fields=("exception", "r?x", "rsp"),
        reason="SWAPGS, MONITOR and MWAIT raise #GP where they do not exist, and so does IRET that would set VM",
        source="Linux arch/x86/kvm/emulate.c, x86_emulate_insn(): Priv; em_iret()",
    ),
    Known(
        id="pvm-sysexit", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("priv.sysexit.cpl0.*.amd",), fields=("saved RIP", "rsp"),
        reason="SYSEXIT works in long mode, whatever the vendor",
        source="Linux arch/x86/kvm/emulate.c, em_sysexit()",
    ),
    Known(
        id="pvm-io-bitmap-end", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("priv.io.bm_tail.long64",),
        reason="the second byte of the I/O bitmap may lie behind the limit of the TSS",
        source="Linux arch/x86/kvm/emulate.c, emulator_io_port_access_allowed()",
    ),
    Known(
        id="pvm-sysret", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("trap.ud.feat.sysret_sce*.long64",), fields=("exception", "saved RIP"),
        reason="SYSRET does not ask EFER.SCE",
        source="seen on Linux 6.18",
    ),
    Known(
        id="pvm-sp-wraps-early", on="kvm_pvm", kind=Kind.LIMIT,
        cases=("mode.trans.pm16_wrap",), fields=("rsp",),
        reason="ESP of a 16-bit stack loses its upper half",
        source="seen on Linux 6.18",
    ),
)  # fmt: skip
