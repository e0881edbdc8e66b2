"""Rules that an engine cannot judge: neither a pass nor a fail would say anything.

The software engine translates guests with Unicorn, which leaves some checks of a processor out.  Cases that need them
are skipped there.  So are those about the interface of the kernel's KVM itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Limit:
    """What the software engine lacks; ``cases`` are patterns of case ids."""

    name: str
    why: str
    cases: tuple[str, ...]


# fmt: off
SOFTWARE = (
    Limit("segment limits", "its translator does not compare accesses with the limit and type of segments",
          ("mode.trans.pm16_limit*", "priv.vm86.limit", "trap.real.gp_limit*", "mode.limit.*.prot32*",
           "mode.limit.compat_limit.long64", "mode.seg.ds.null.prot32", "mode.seg.ds.ro", "mode.seg.ds.ldt_ok.prot32",
           "mode.seg.ss.expdown", "mode.task.df.prot32")),
    Limit("task gates", "interrupts through task gates are not carried out",
          ("mode.task.int_gate.prot32", "mode.task.exc_ec.prot32", "mode.task.nmi.prot32", "mode.task.irq.prot32",
           "mode.task.pf.pae32", "mode.task.*_bad.prot32")),
    Limit("canonical bases", "its translator takes bases, and operands of CLFLUSH, that are not canonical",
          ("mode.seg.ltr.nc", "mode.seg.lldt.nc", "mode.misc.fsgsbase_nc", "mode.canon.clflush")),
    Limit("system descriptors", "its translator takes a 16-bit TSS in long mode, and any upper half of an LDT",
          ("mode.seg.ltr.tss16_64", "mode.seg.lldt.upper")),
    Limit("far transfers", "its translator judges where some far transfers lead when registers have changed, or never",
          ("mode.far.long_nc", "mode.far.retq_nc", "mode.iret.nc_rip", "mode.iret.null_ss_compat",
           "mode.syscall.sysret_nc", "mode.trans.cs_ld")),
    Limit("RF of IRET", "its translator forgets the RF that IRET loads",
          ("mode.iret.rf",)),
    Limit("alignment check", "its translator does not check alignment",
          ("trap.ac.dword.ring3", "trap.ac.store.ring3")),
    Limit("SIMD exceptions", "its translator raises no SSE floating-point exceptions",
          ("trap.xm.dze.long64", "trap.xm.osxmmexcpt0.long64")),
    Limit("flags", "its translator shows RF in PUSHF, and goes over to virtual-8086 mode from long mode",
          ("priv.flags.pushf_vm_rf", "priv.vm86.long_absent")),
    Limit("breakpoints behind MOV SS", "its translator does not tell MOV SS from STI",
          ("trap.db.x_bp_movss.long64", "trap.db.movss_w.long64", "trap.db.movss_w_icebp.long64")),
    Limit("branches", "its translator does not step from branch to branch",
          ("trap.db.tf_wrmsr_btf.long64*",)),
    Limit("implicit accesses", "its translator lets AC = 1 open user pages to the processor's own accesses",
          ("pg.ctl.smap_implicit", "pg.*.product.implicit_ac", "pg.*.product_pse.implicit_ac")),
    Limit("one processor", "it has one processor",
          ("pio.x.smp", "mmio.x.smp", "slat.smp_delete", "smp.mp_set")),
    Limit("halves of vectors", "its translator makes two accesses of 16 bytes before it looks where the page ends",
          ("mmio.x.sse_cross",)),
    Limit("marks in page tables", "its translator sets A and D without telling, so the dirty log does not know of them",
          ("slat.dirty_pt",)),
    Limit("slots without memory", "the translator would crash with its host process",
          ("slat.hva_unmapped", "slat.mprotect")),
    Limit("the kernel's interface", "the rule is about KVM's interface",
          ("slat.overlap", "slat.unaligned", "slat.wrap", "slat.resize", "slat.hva_change",
           "slat.flags_readonly_toggle", "int.lapic.irqfd_edge", "pio.x.in_kernel", "pio.x.change_rip",
           "mmio.x.ioapic_page")),
)
# fmt: on


def limit(case: str, engine: str) -> str:
    """Empty, or why the engine of that name cannot judge the case of that id."""
    if engine != "software":
        return ""
    whys = (row.why for row in SOFTWARE for pattern in row.cases if fnmatchcase(case, pattern))
    return next((f"the software engine cannot judge this: {why}" for why in whys), "")
