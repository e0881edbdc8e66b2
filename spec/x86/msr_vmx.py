"""VMX capability MSRs: Intel SDM vol. 3D, appendix "VMX Capability Reporting Facility"; the controls themselves:
vol. 3C, "Virtual Machine Control Structures".

A capability of 32-bit controls says in its low half which controls are 1 whether one likes it or not, and in its high
half which may be 1.  ``Allowed`` splits it, and each half is read as the register of those controls: so
``SecondaryControls(Allowed(msr).allowed1).enable_ept`` asks whether EPT can be used.
"""

from enum import IntEnum

from virtproof.spec.bits import Bits, bit, bits


# fmt: off
class VmxMsr(IntEnum):
    """Numbers, as in ECX of RDMSR."""

    IA32_VMX_BASIC               = 0x480
    IA32_VMX_PINBASED_CTLS       = 0x481
    IA32_VMX_PROCBASED_CTLS      = 0x482
    IA32_VMX_EXIT_CTLS           = 0x483
    IA32_VMX_ENTRY_CTLS          = 0x484
    IA32_VMX_MISC                = 0x485
    IA32_VMX_CR0_FIXED0          = 0x486
    IA32_VMX_CR0_FIXED1          = 0x487
    IA32_VMX_CR4_FIXED0          = 0x488
    IA32_VMX_CR4_FIXED1          = 0x489
    IA32_VMX_VMCS_ENUM           = 0x48A
    IA32_VMX_PROCBASED_CTLS2     = 0x48B
    IA32_VMX_EPT_VPID_CAP        = 0x48C
    IA32_VMX_TRUE_PINBASED_CTLS  = 0x48D
    IA32_VMX_TRUE_PROCBASED_CTLS = 0x48E
    IA32_VMX_TRUE_EXIT_CTLS      = 0x48F
    IA32_VMX_TRUE_ENTRY_CTLS     = 0x490
    IA32_VMX_VMFUNC              = 0x491
    IA32_VMX_PROCBASED_CTLS3     = 0x492
    IA32_VMX_EXIT_CTLS2          = 0x493


class VmxBasic(Bits, width=64):
    """IA32_VMX_BASIC."""

    revision        = bits(30, 0,  "VMCS revision identifier")
    region_size     = bits(44, 32, "bytes of a VMCS region")
    width_32        = bit(48,      "VMCS and what it points to lie below 4 GiB")
    dual_monitor    = bit(49)
    memory_type     = bits(53, 50, "0 UC, 6 WB")
    ins_outs_info   = bit(54)
    true_controls   = bit(55,      "the TRUE capability MSRs exist")
    no_error_code   = bit(56,      "hardware exceptions may be injected with or without an error code")
    nested_exception = bit(58)


class Allowed(Bits, width=64):
    """A capability of 32-bit controls."""

    allowed0 = bits(31, 0,  "a set bit: the control must be 1")
    allowed1 = bits(63, 32, "a set bit: the control may be 1")


class PinControls(Bits, width=32):
    """Pin-based VM-execution controls."""

    external_interrupt_exiting = bit(0)
    nmi_exiting                = bit(3)
    virtual_nmis               = bit(5)
    preemption_timer           = bit(6)
    posted_interrupts          = bit(7)


class PrimaryControls(Bits, width=32):
    """Primary processor-based VM-execution controls."""

    interrupt_window_exiting = bit(2)
    tsc_offsetting           = bit(3)
    hlt_exiting              = bit(7)
    invlpg_exiting           = bit(9)
    mwait_exiting            = bit(10)
    rdpmc_exiting            = bit(11)
    rdtsc_exiting            = bit(12)
    cr3_load_exiting         = bit(15)
    cr3_store_exiting        = bit(16)
    tertiary_controls        = bit(17)
    cr8_load_exiting         = bit(19)
    cr8_store_exiting        = bit(20)
    tpr_shadow               = bit(21)
    nmi_window_exiting       = bit(22)
    mov_dr_exiting           = bit(23)
    unconditional_io_exiting = bit(24)
    io_bitmaps               = bit(25)
    monitor_trap_flag        = bit(27)
    msr_bitmaps              = bit(28)
    monitor_exiting          = bit(29)
    pause_exiting            = bit(30)
    secondary_controls       = bit(31)


class SecondaryControls(Bits, width=32):
    """Secondary processor-based VM-execution controls."""

    virtualize_apic_accesses   = bit(0)
    enable_ept                 = bit(1)
    descriptor_table_exiting   = bit(2)
    enable_rdtscp              = bit(3)
    virtualize_x2apic_mode     = bit(4)
    enable_vpid                = bit(5)
    wbinvd_exiting             = bit(6)
    unrestricted_guest         = bit(7, "real mode and unpaged protected mode run natively")
    apic_register_virtualization = bit(8)
    virtual_interrupt_delivery = bit(9)
    pause_loop_exiting         = bit(10)
    rdrand_exiting             = bit(11)
    enable_invpcid             = bit(12)
    enable_vm_functions        = bit(13)
    vmcs_shadowing             = bit(14)
    encls_exiting              = bit(15)
    rdseed_exiting             = bit(16)
    enable_pml                 = bit(17)
    ept_violation_ve           = bit(18)
    conceal_vmx_from_pt        = bit(19)
    enable_xsaves              = bit(20)
    pasid_translation          = bit(21)
    mode_based_ept_execute     = bit(22)
    sub_page_write             = bit(23)
    pt_uses_guest_physical     = bit(24)
    tsc_scaling                = bit(25)
    user_wait_and_pause        = bit(26)
    enable_pconfig             = bit(27)
    enclv_exiting              = bit(28, "Linux asm/vmxfeatures.h; the manual has it no more")
    bus_lock_detection         = bit(30)
    instruction_timeout        = bit(31)


class TertiaryControls(Bits, width=64):
    """Tertiary processor-based VM-execution controls; their capability MSR is 64 bits of allowed-1."""

    loadiwkey_exiting   = bit(0)
    hlat                = bit(1)
    ept_paging_write    = bit(2)
    guest_paging_verify = bit(3)
    ipi_virtualization  = bit(4)
    seam_guest_physical_width = bit(5)
    msr_list_instructions = bit(6)
    virtualize_spec_ctrl = bit(7)
    apic_timer_virtualization = bit(8)
    enable_pbndkb       = bit(9)
    pebs_guest_physical = bit(12)


class ExitControls(Bits, width=32):
    """Primary VM-exit controls."""

    save_debug_controls        = bit(2)
    host_address_space_size    = bit(9, "the host runs in 64-bit mode")
    load_perf_global_ctrl      = bit(12)
    acknowledge_interrupt      = bit(15)
    save_pat                   = bit(18)
    load_pat                   = bit(19)
    save_efer                  = bit(20)
    load_efer                  = bit(21)
    save_preemption_timer      = bit(22)
    clear_bndcfgs              = bit(23)
    conceal_vmx_from_pt        = bit(24)
    clear_rtit_ctl             = bit(25)
    clear_lbr_ctl              = bit(26)
    clear_uinv                 = bit(27)
    load_cet                   = bit(28)
    load_pkrs                  = bit(29)
    save_perf_global_ctrl      = bit(30)
    secondary_controls         = bit(31)


class EntryControls(Bits, width=32):
    """VM-entry controls."""

    load_debug_controls   = bit(2)
    ia32e_mode_guest      = bit(9)
    entry_to_smm          = bit(10)
    deactivate_dual_monitor = bit(11)
    load_perf_global_ctrl = bit(13)
    load_pat              = bit(14)
    load_efer             = bit(15)
    load_bndcfgs          = bit(16)
    conceal_vmx_from_pt   = bit(17)
    load_rtit_ctl         = bit(18)
    load_uinv             = bit(19)
    load_cet              = bit(20)
    load_lbr_ctl          = bit(21)
    load_pkrs             = bit(22)
    load_fred             = bit(23)
    load_spec_ctrl        = bit(24)
    seam_guest_telemetry  = bit(25)


class ExitControls2(Bits, width=64):
    """Secondary VM-exit controls; their capability MSR is 64 bits of allowed-1."""

    save_fred               = bit(0)
    load_fred               = bit(1)
    load_spec_ctrl          = bit(2)
    prematurely_busy_shadow_stack = bit(3)


class VmxMisc(Bits, width=64):
    """IA32_VMX_MISC."""

    preemption_timer_rate = bits(4, 0, "TSC bit whose change counts the timer down")
    stores_lma            = bit(5,     "VM exits store EFER.LMA into the IA-32e mode guest control; unrestricted guest")
    activity_hlt          = bit(6)
    activity_shutdown     = bit(7)
    activity_wait_sipi    = bit(8)
    pt_in_vmx             = bit(14)
    rdmsr_smbase          = bit(15)
    cr3_targets           = bits(24, 16)
    msr_list_units        = bits(27, 25, "(n + 1) * 512 MSRs in a list, recommended")
    smi_unblock_on_vmxoff = bit(28)
    vmwrite_all           = bit(29, "VMWRITE may write exit information")
    inject_length_0       = bit(30)
    mseg_revision         = bits(63, 32)


class VmcsEnum(Bits, width=64):
    """IA32_VMX_VMCS_ENUM."""

    highest_index = bits(9, 1)


class VmxEptVpidCap(Bits, width=64):
    """IA32_VMX_EPT_VPID_CAP."""

    execute_only              = bit(0)
    walk4                     = bit(6,  "4-level EPT")
    walk5                     = bit(7,  "5-level EPT")
    memory_uc                 = bit(8)
    memory_wb                 = bit(14)
    page2m                    = bit(16)
    page1g                    = bit(17)
    invept                    = bit(20)
    dirty                     = bit(21, "accessed and dirty flags")
    advanced_exit_info        = bit(22)
    supervisor_shadow_stack   = bit(23)
    invept_single             = bit(25)
    invept_all                = bit(26)
    invvpid                   = bit(32)
    invvpid_address           = bit(40)
    invvpid_single            = bit(41)
    invvpid_all               = bit(42)
    invvpid_single_but_global = bit(43)
    hlat_prefix               = bits(53, 48)


class VmFunc(Bits, width=64):
    """IA32_VMX_VMFUNC."""

    eptp_switching = bit(0)


REGISTERS: dict[int, type[Bits]] = {
    VmxMsr.IA32_VMX_BASIC:               VmxBasic,
    VmxMsr.IA32_VMX_PINBASED_CTLS:       Allowed,
    VmxMsr.IA32_VMX_PROCBASED_CTLS:      Allowed,
    VmxMsr.IA32_VMX_EXIT_CTLS:           Allowed,
    VmxMsr.IA32_VMX_ENTRY_CTLS:          Allowed,
    VmxMsr.IA32_VMX_MISC:                VmxMisc,
    VmxMsr.IA32_VMX_VMCS_ENUM:           VmcsEnum,
    VmxMsr.IA32_VMX_PROCBASED_CTLS2:     Allowed,
    VmxMsr.IA32_VMX_EPT_VPID_CAP:        VmxEptVpidCap,
    VmxMsr.IA32_VMX_TRUE_PINBASED_CTLS:  Allowed,
    VmxMsr.IA32_VMX_TRUE_PROCBASED_CTLS: Allowed,
    VmxMsr.IA32_VMX_TRUE_EXIT_CTLS:      Allowed,
    VmxMsr.IA32_VMX_TRUE_ENTRY_CTLS:     Allowed,
    VmxMsr.IA32_VMX_VMFUNC:              VmFunc,
    VmxMsr.IA32_VMX_PROCBASED_CTLS3:     TertiaryControls,
    VmxMsr.IA32_VMX_EXIT_CTLS2:          ExitControls2,
}

# The controls that an Allowed register speaks of.
CONTROLS: dict[int, type[Bits]] = {
    VmxMsr.IA32_VMX_PINBASED_CTLS:       PinControls,
    VmxMsr.IA32_VMX_PROCBASED_CTLS:      PrimaryControls,
    VmxMsr.IA32_VMX_EXIT_CTLS:           ExitControls,
    VmxMsr.IA32_VMX_ENTRY_CTLS:          EntryControls,
    VmxMsr.IA32_VMX_PROCBASED_CTLS2:     SecondaryControls,
    VmxMsr.IA32_VMX_TRUE_PINBASED_CTLS:  PinControls,
    VmxMsr.IA32_VMX_TRUE_PROCBASED_CTLS: PrimaryControls,
    VmxMsr.IA32_VMX_TRUE_EXIT_CTLS:      ExitControls,
    VmxMsr.IA32_VMX_TRUE_ENTRY_CTLS:     EntryControls,
}
# fmt: on
