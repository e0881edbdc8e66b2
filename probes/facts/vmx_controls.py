"""The VMX controls that the processor lets software set: Intel SDM vol. 3C, "Virtual Machine Control Structures"; vol.
3D, appendix "VMX Capability Reporting Facility".
"""

from virtproof.probes.register import ControlsPlace, MsrPlace, Register, Row, facts
from virtproof.spec.cite import sdm
from virtproof.spec.x86.msr_vmx import (
    EntryControls,
    ExitControls,
    ExitControls2,
    PinControls,
    PrimaryControls,
    SecondaryControls,
    TertiaryControls,
    VmxMsr,
)

# fmt: off
PIN = Register(ControlsPlace(VmxMsr.IA32_VMX_PINBASED_CTLS, VmxMsr.IA32_VMX_TRUE_PINBASED_CTLS),
               "pin-based VM-execution controls", sdm("3D", "App. A 'Pin-Based VM-Execution Controls'"), (
    #   id                                    field                                              term                                          ref
    Row("vmx.control.external_interrupt",     PinControls.external_interrupt_exiting,            "external-interrupt exiting",                 "CV-014"),
    Row("vmx.control.nmi",                    PinControls.nmi_exiting,                           "NMI exiting",                                "CV-015"),
    Row("vmx.control.virtual_nmis",           PinControls.virtual_nmis,                          "virtual NMIs",                               "CV-016"),
    Row("vmx.control.preemption_timer",       PinControls.preemption_timer,                      "activate VMX-preemption timer",              "CV-017"),
    Row("vmx.control.posted_interrupts",      PinControls.posted_interrupts,                     "process posted interrupts",                  "CV-018"),
))

PRIMARY = Register(ControlsPlace(VmxMsr.IA32_VMX_PROCBASED_CTLS, VmxMsr.IA32_VMX_TRUE_PROCBASED_CTLS),
                   "primary processor-based VM-execution controls", sdm("3D", "App. A 'Primary Processor-Based VM-Execution Controls'"), (
    Row("vmx.control.interrupt_window",       PrimaryControls.interrupt_window_exiting,          "interrupt-window exiting",                   "CV-019"),
    Row("vmx.control.tsc_offsetting",         PrimaryControls.tsc_offsetting,                    "use TSC offsetting",                         "CV-020"),
    Row("vmx.control.hlt",                    PrimaryControls.hlt_exiting,                       "HLT exiting",                                "CV-021"),
    Row("vmx.control.invlpg",                 PrimaryControls.invlpg_exiting,                    "INVLPG exiting",                             "CV-022"),
    Row("vmx.control.mwait",                  PrimaryControls.mwait_exiting,                     "MWAIT exiting",                              "CV-023"),
    Row("vmx.control.rdpmc",                  PrimaryControls.rdpmc_exiting,                     "RDPMC exiting",                              "CV-024"),
    Row("vmx.control.rdtsc",                  PrimaryControls.rdtsc_exiting,                     "RDTSC exiting",                              "CV-025"),
    Row("vmx.control.cr3_load",               PrimaryControls.cr3_load_exiting,                  "CR3-load exiting",                           "CV-026"),
    Row("vmx.control.cr3_store",              PrimaryControls.cr3_store_exiting,                 "CR3-store exiting",                          "CV-027"),
    Row("vmx.control.tertiary",               PrimaryControls.tertiary_controls,                 "activate tertiary controls",                 "CV-028"),
    Row("vmx.control.cr8_load",               PrimaryControls.cr8_load_exiting,                  "CR8-load exiting",                           "CV-029"),
    Row("vmx.control.cr8_store",              PrimaryControls.cr8_store_exiting,                 "CR8-store exiting",                          "CV-030"),
    Row("vmx.control.tpr_shadow",             PrimaryControls.tpr_shadow,                        "use TPR shadow",                             "CV-031"),
    Row("vmx.control.nmi_window",             PrimaryControls.nmi_window_exiting,                "NMI-window exiting",                         "CV-032"),
    Row("vmx.control.mov_dr",                 PrimaryControls.mov_dr_exiting,                    "MOV-DR exiting",                             "CV-033"),
    Row("vmx.control.unconditional_io",       PrimaryControls.unconditional_io_exiting,          "unconditional I/O exiting",                  "CV-034"),
    Row("vmx.control.io_bitmaps",             PrimaryControls.io_bitmaps,                        "use I/O bitmaps",                            "CV-035"),
    Row("vmx.control.monitor_trap_flag",      PrimaryControls.monitor_trap_flag,                 "monitor trap flag",                          "CV-036"),
    Row("vmx.control.msr_bitmaps",            PrimaryControls.msr_bitmaps,                       "use MSR bitmaps",                            "CV-037"),
    Row("vmx.control.monitor",                PrimaryControls.monitor_exiting,                   "MONITOR exiting",                            "CV-038"),
    Row("vmx.control.pause",                  PrimaryControls.pause_exiting,                     "PAUSE exiting",                              "CV-039"),
    Row("vmx.control.secondary",              PrimaryControls.secondary_controls,                "activate secondary controls",                "CV-040"),
))

SECONDARY = Register(ControlsPlace(VmxMsr.IA32_VMX_PROCBASED_CTLS2),
                     "secondary processor-based VM-execution controls", sdm("3D", "App. A 'Secondary Processor-Based VM-Execution Controls'"), (
    Row("vmx.control.apic_accesses",          SecondaryControls.virtualize_apic_accesses,        "virtualize APIC accesses",                   "CV-041"),
    Row("ept.control",                        SecondaryControls.enable_ept,                      "enable EPT",                                 "MV-001"),
    Row("vmx.control.descriptor_tables",      SecondaryControls.descriptor_table_exiting,        "descriptor-table exiting",                   "CV-042"),
    Row("vmx.control.rdtscp",                 SecondaryControls.enable_rdtscp,                   "enable RDTSCP",                              "CV-043"),
    Row("vmx.control.x2apic_mode",            SecondaryControls.virtualize_x2apic_mode,          "virtualize x2APIC mode",                     "CV-044"),
    Row("vmx.control.vpid",                   SecondaryControls.enable_vpid,                     "enable VPID",                                "MV-002"),
    Row("vmx.control.wbinvd",                 SecondaryControls.wbinvd_exiting,                  "WBINVD exiting",                             "CV-045"),
    Row("vmx.control.unrestricted_guest",     SecondaryControls.unrestricted_guest,              "unrestricted guest",                         "CV-046"),
    Row("vmx.control.apic_registers",         SecondaryControls.apic_register_virtualization,    "APIC-register virtualization",               "CV-047"),
    Row("vmx.control.interrupt_delivery",     SecondaryControls.virtual_interrupt_delivery,      "virtual-interrupt delivery",                 "CV-048"),
    Row("vmx.control.pause_loop",             SecondaryControls.pause_loop_exiting,              "PAUSE-loop exiting",                         "CV-049"),
    Row("vmx.control.rdrand",                 SecondaryControls.rdrand_exiting,                  "RDRAND exiting",                             "CV-050"),
    Row("vmx.control.invpcid",                SecondaryControls.enable_invpcid,                  "enable INVPCID",                             "CV-051"),
    Row("vmx.control.vm_functions",           SecondaryControls.enable_vm_functions,             "enable VM functions",                        "CV-052"),
    Row("vmx.control.vmcs_shadowing",         SecondaryControls.vmcs_shadowing,                  "VMCS shadowing",                             "CV-053"),
    Row("vmx.control.encls",                  SecondaryControls.encls_exiting,                   "enable ENCLS exiting",                       "CV-054"),
    Row("vmx.control.rdseed",                 SecondaryControls.rdseed_exiting,                  "RDSEED exiting",                             "CV-055"),
    Row("ept.pml",                            SecondaryControls.enable_pml,                      "enable PML",                                 "MV-003"),
    Row("ept.violation_ve",                   SecondaryControls.ept_violation_ve,                "EPT-violation #VE",                          "MV-004"),
    Row("vmx.control.conceal_from_pt",        SecondaryControls.conceal_vmx_from_pt,             "conceal VMX from PT",                        "CV-056"),
    Row("vmx.control.xsaves",                 SecondaryControls.enable_xsaves,                   "enable XSAVES/XRSTORS",                      "CV-057"),
    Row("vmx.control.pasid_translation",      SecondaryControls.pasid_translation,               "PASID translation"),
    Row("ept.mode_based_execute",             SecondaryControls.mode_based_ept_execute,          "mode-based execute control for EPT",         "MV-005"),
    Row("ept.sub_page_write",                 SecondaryControls.sub_page_write,                  "sub-page write permissions for EPT",         "MV-006"),
    Row("vmx.control.pt_guest_physical",      SecondaryControls.pt_uses_guest_physical,          "Intel PT uses guest physical addresses",     "CV-058"),
    Row("vmx.control.tsc_scaling",            SecondaryControls.tsc_scaling,                     "use TSC scaling",                            "CV-059"),
    Row("vmx.control.user_wait",              SecondaryControls.user_wait_and_pause,             "enable user wait and pause",                 "CV-060"),
    Row("vmx.control.pconfig",                SecondaryControls.enable_pconfig,                  "enable PCONFIG",                             "CV-064"),
    Row("vmx.control.enclv",                  SecondaryControls.enclv_exiting,                   "enable ENCLV exiting",                       "CV-061"),
    Row("vmx.control.bus_lock_detection",     SecondaryControls.bus_lock_detection,              "VMM bus-lock detection",                     "CV-062"),
    Row("vmx.control.instruction_timeout",    SecondaryControls.instruction_timeout,             "instruction timeout",                        "CV-063"),
))

TERTIARY = Register(MsrPlace(VmxMsr.IA32_VMX_PROCBASED_CTLS3, capabilities=True),
                    "tertiary processor-based VM-execution controls", sdm("3D", "App. A 'Tertiary Processor-Based VM-Execution Controls'"), (
    Row("vmx.control.loadiwkey",              TertiaryControls.loadiwkey_exiting,                "LOADIWKEY exiting",                          "CV-066"),
    Row("vmx.control.hlat",                   TertiaryControls.hlat,                             "enable HLAT",                                "CV-067"),
    Row("ept.paging_write",                   TertiaryControls.ept_paging_write,                 "EPT paging-write control",                   "CV-068"),
    Row("ept.guest_paging_verification",      TertiaryControls.guest_paging_verify,              "guest-paging verification",                  "CV-069"),
    Row("vmx.control.ipi_virtualization",     TertiaryControls.ipi_virtualization,               "IPI virtualization",                         "CV-070"),
    Row("vmx.control.seam_physical_width",    TertiaryControls.seam_guest_physical_width,        "SEAM guest-physical address width"),
    Row("vmx.control.msr_lists",              TertiaryControls.msr_list_instructions,            "enable MSR-list instructions"),
    Row("vmx.control.spec_ctrl",              TertiaryControls.virtualize_spec_ctrl,             "virtualize IA32_SPEC_CTRL",                  "CV-071"),
    Row("vmx.control.apic_timer",             TertiaryControls.apic_timer_virtualization,        "APIC-timer virtualization"),
    Row("vmx.control.pbndkb",                 TertiaryControls.enable_pbndkb,                    "enable PBNDKB"),
    Row("vmx.control.pebs_guest_physical",    TertiaryControls.pebs_guest_physical,              "PEBS uses guest physical addresses"),
))

EXIT = Register(ControlsPlace(VmxMsr.IA32_VMX_EXIT_CTLS, VmxMsr.IA32_VMX_TRUE_EXIT_CTLS),
                "primary VM-exit controls", sdm("3D", "App. A 'VM-Exit Controls'"), (
    Row("vmx.exit.save_debug",                ExitControls.save_debug_controls,                  "save debug controls",                        "CV-072"),
    Row("vmx.exit.host_64",                   ExitControls.host_address_space_size,              "host address-space size",                    "CV-073"),
    Row("vmx.exit.load_perf_global_ctrl",     ExitControls.load_perf_global_ctrl,                "load IA32_PERF_GLOBAL_CTRL",                 "CV-074"),
    Row("vmx.exit.acknowledge_interrupt",     ExitControls.acknowledge_interrupt,                "acknowledge interrupt on exit",              "CV-075"),
    Row("vmx.exit.save_pat",                  ExitControls.save_pat,                             "save IA32_PAT",                              "CV-076"),
    Row("vmx.exit.load_pat",                  ExitControls.load_pat,                             "load IA32_PAT",                              "CV-077"),
    Row("vmx.exit.save_efer",                 ExitControls.save_efer,                            "save IA32_EFER",                             "CV-078"),
    Row("vmx.exit.load_efer",                 ExitControls.load_efer,                            "load IA32_EFER",                             "CV-079"),
    Row("vmx.exit.save_preemption_timer",     ExitControls.save_preemption_timer,                "save VMX-preemption timer value",            "CV-080"),
    Row("vmx.exit.clear_bndcfgs",             ExitControls.clear_bndcfgs,                        "clear IA32_BNDCFGS",                         "CV-081"),
    Row("vmx.exit.conceal_from_pt",           ExitControls.conceal_vmx_from_pt,                  "conceal VMX from PT",                        "CV-082"),
    Row("vmx.exit.clear_rtit_ctl",            ExitControls.clear_rtit_ctl,                       "clear IA32_RTIT_CTL",                        "CV-083"),
    Row("vmx.exit.clear_lbr_ctl",             ExitControls.clear_lbr_ctl,                        "clear IA32_LBR_CTL"),
    Row("vmx.exit.clear_uinv",                ExitControls.clear_uinv,                           "clear UINV"),
    Row("vmx.exit.load_cet",                  ExitControls.load_cet,                             "load CET state"),
    Row("vmx.exit.load_pkrs",                 ExitControls.load_pkrs,                            "load PKRS"),
    Row("vmx.exit.save_perf_global_ctrl",     ExitControls.save_perf_global_ctrl,                "save IA32_PERF_GLOBAL_CTRL"),
    Row("vmx.exit.secondary",                 ExitControls.secondary_controls,                   "activate secondary controls",                "CV-084"),
))

EXIT_2 = Register(MsrPlace(VmxMsr.IA32_VMX_EXIT_CTLS2, capabilities=True),
                  "secondary VM-exit controls", sdm("3D", "App. A 'Secondary VM-Exit Controls'"), (
    Row("vmx.exit.save_fred",                 ExitControls2.save_fred,                           "save FRED",                                  "CV-085"),
    Row("vmx.exit.load_fred",                 ExitControls2.load_fred,                           "load FRED",                                  "CV-085"),
    Row("vmx.exit.load_spec_ctrl",            ExitControls2.load_spec_ctrl,                      "load IA32_SPEC_CTRL"),
    Row("vmx.exit.busy_shadow_stack",         ExitControls2.prematurely_busy_shadow_stack,       "prematurely busy shadow stack"),
))

ENTRY = Register(ControlsPlace(VmxMsr.IA32_VMX_ENTRY_CTLS, VmxMsr.IA32_VMX_TRUE_ENTRY_CTLS),
                 "VM-entry controls", sdm("3D", "App. A 'VM-Entry Controls'"), (
    Row("vmx.entry.load_debug",               EntryControls.load_debug_controls,                 "load debug controls",                        "CV-086"),
    Row("vmx.entry.ia32e_guest",              EntryControls.ia32e_mode_guest,                    "IA-32e mode guest",                          "CV-087"),
    Row("vmx.entry.smm",                      EntryControls.entry_to_smm,                        "entry to SMM",                               "CV-088"),
    Row("vmx.entry.deactivate_dual_monitor",  EntryControls.deactivate_dual_monitor,             "deactivate dual-monitor treatment"),
    Row("vmx.entry.load_perf_global_ctrl",    EntryControls.load_perf_global_ctrl,               "load IA32_PERF_GLOBAL_CTRL",                 "CV-089"),
    Row("vmx.entry.load_pat",                 EntryControls.load_pat,                            "load IA32_PAT",                              "CV-090"),
    Row("vmx.entry.load_efer",                EntryControls.load_efer,                           "load IA32_EFER",                             "CV-091"),
    Row("vmx.entry.load_bndcfgs",             EntryControls.load_bndcfgs,                        "load IA32_BNDCFGS",                          "CV-092"),
    Row("vmx.entry.conceal_from_pt",          EntryControls.conceal_vmx_from_pt,                 "conceal VMX from PT",                        "CV-093"),
    Row("vmx.entry.load_rtit_ctl",            EntryControls.load_rtit_ctl,                       "load IA32_RTIT_CTL",                         "CV-094"),
    Row("vmx.entry.load_uinv",                EntryControls.load_uinv,                           "load UINV"),
    Row("vmx.entry.load_cet",                 EntryControls.load_cet,                            "load CET state"),
    Row("vmx.entry.load_lbr_ctl",             EntryControls.load_lbr_ctl,                        "load guest IA32_LBR_CTL"),
    Row("vmx.entry.load_pkrs",                EntryControls.load_pkrs,                           "load PKRS"),
    Row("vmx.entry.load_fred",                EntryControls.load_fred,                           "load FRED",                                  "CV-095"),
    Row("vmx.entry.load_spec_ctrl",           EntryControls.load_spec_ctrl,                      "load IA32_SPEC_CTRL"),
    Row("vmx.entry.seam_telemetry",           EntryControls.seam_guest_telemetry,                "allow SEAM-guest telemetry"),
))
# fmt: on

REGISTERS = (PIN, PRIMARY, SECONDARY, TERTIARY, EXIT, EXIT_2, ENTRY)
FACTS = facts(REGISTERS)
