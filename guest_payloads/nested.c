/* Virtualization by a guest: what a processor with VMX or SVM does when a hypervisor is run in its guest.

   The second-level guest shares memory and page tables with the program.  It does CPUID, then HLT or VMMCALL; each comes
   out.  Intel SDM vol. 3C, "VMX Instruction Reference", "VM Entries", appendix "Field Encoding in VMCS"; AMD APM vol. 2,
   "Secure Virtual Machine" and appendix "Layout of VMCB". */
#include "library/string.h"
#include "library/tests.h"

#define PAGE 4096
#define FAULTED 0x100                    /* and the vector; else CF (1) and ZF (0x40) of an instruction of VMX */
#define CR0_NE (1u << 5)
#define CR4_VMXE (1u << 13)
#define EFER_SVME (1u << 12)
#define FEATURE_CONTROL 0x3a
#define VMX_BASIC 0x480
#define VM_HSAVE_PA 0xc0010117

static u8 region[PAGE] __attribute__((aligned(PAGE), section(".noinit")));
static u8 control[PAGE] __attribute__((aligned(PAGE), section(".noinit")));
static u8 saved[PAGE] __attribute__((aligned(PAGE), section(".noinit")));
static u8 inner_stack[1024] __attribute__((aligned(16), section(".noinit")));
u64 recover, faulted, refused;

static void note(struct frame *f)
{
    faulted = FAULTED | f->vector;
    f->rip = recover;
}

#define TRIED(instruction, ...) ({                                                                          \
    u64 flags_;                                                                                             \
    faulted = 0;                                                                                            \
    asm volatile("lea 1f(%%rip), %0; mov %0, recover(%%rip); " instruction "; 1: pushf; pop %0"             \
                 : "=&r"(flags_) : __VA_ARGS__ : "cc", "memory");                                           \
    faulted ? faulted : flags_ & 0x41; })

void inner(void);
asm(".globl inner\ninner: xor %eax, %eax; cpuid; hlt; vmmcall; 1: jmp 1b");

static void vmx_prepare(u64 feature_control)
{
    handle(6, note);
    handle(13, note);
    if (feature_control)
        wrmsr(FEATURE_CONTROL, feature_control);
    write_cr0(read_cr0() | CR0_NE);
    write_cr4(read_cr4() | CR4_VMXE);
    memset(region, 0, PAGE);
    memset(control, 0, PAGE);
    *(u32 *)region = *(u32 *)control = (u32)rdmsr(VMX_BASIC) & 0x7fffffff;
}

static u64 vmxon(const void *at)
{
    u64 address = (u64)at;
    return TRIED("vmxon %1", "m"(address));
}

static u64 vmxoff(void) { return TRIED("vmxoff", "i"(0)); }

TEST(vmx_on)                             /* VMXON, VMXON again (in root operation: VMfailInvalid), VMXOFF, VMXOFF again */
{
    vmx_prepare(5);
    observe(vmxon(region));
    observe(vmxon(region));
    observe(vmxoff());
    observe(vmxoff());
}

TEST(vmx_locked)                         /* argument 1: IA32_FEATURE_CONTROL, 0 for as it was found */
{
    vmx_prepare(arguments[1]);
    observe(vmxon(region));
}

TEST(vmx_pointer)                        /* unaligned; wrong revision; right */
{
    vmx_prepare(5);
    observe(vmxon(region + 8));
    *(u32 *)region ^= 1;
    observe(vmxon(region));
    *(u32 *)region ^= 1;
    observe(vmxon(region));
}

static void vmwrite(u64 field, u64 value) { asm volatile("vmwrite %0, %1" : : "r"(value), "r"(field) : "cc"); }

static u64 vmread(u64 field)
{
    u64 value;
    asm volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
    return value;
}

/* The controls that must be 1 and those that may be, by the capability MSR: the true one where there is one. */
static u64 allowed(u64 wanted, u32 index)
{
    u64 capability = rdmsr(rdmsr(VMX_BASIC) >> 55 & 1 ? index + 12 : index);
    return (wanted | (u32)capability) & capability >> 32;
}

static void vmcs_fill(void)
{
    struct { u16 limit; u64 base; } __attribute__((packed)) gdtr, idtr;
    asm volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
    vmwrite(0x4000, allowed(0, 0x481));                  /* pin-based */
    vmwrite(0x4002, allowed(1 << 7, 0x482));             /* HLT exits */
    vmwrite(0x400c, allowed(1 << 9, 0x483));             /* the host is in 64-bit mode */
    vmwrite(0x4012, allowed(1 << 9, 0x484));             /* and so is the guest */
    static const u16 zero[] = {
        0x4004, 0x4006, 0x4008, 0x400a, 0x400e, 0x4010, 0x4014, 0x4016, 0x6000, 0x6002, 0x6004, 0x6006, 0x2802,
        0x4824, 0x4826, 0x4828, 0x482a, 0x6822, 0x6824, 0x6826, 0x4c00, 0x6c06, 0x6c08, 0x6c0a, 0x6c10, 0x6c12,
    };
    for (unsigned n = 0; n < sizeof zero / sizeof *zero; n++)
        vmwrite(zero[n], 0);
    vmwrite(0x2800, ~0ull);                              /* no shadow VMCS */
    static const struct { u16 selector; u32 limit, rights; } segments[] = {   /* ES CS SS DS FS GS LDTR TR */
        {0x10, ~0u, 0xc093}, {0x08, ~0u, 0xa09b}, {0x10, ~0u, 0xc093}, {0x10, ~0u, 0xc093},
        {0, 0, 0x10000}, {0, 0, 0x10000}, {0, 0, 0x10000}, {0x18, 0x67, 0x8b},
    };
    for (unsigned n = 0; n < 8; n++) {
        vmwrite(0x0800 + 2 * n, segments[n].selector);
        vmwrite(0x4800 + 2 * n, segments[n].limit);
        vmwrite(0x4814 + 2 * n, segments[n].rights);
        vmwrite(0x6806 + 2 * n, 0);
        if (n != 6)                                      /* the host has no LDTR, and its TR must not be 0 */
            vmwrite(0x0c00 + 2 * (n - (n == 7)), segments[n].selector);
    }
    vmwrite(0x4810, gdtr.limit); vmwrite(0x6816, gdtr.base); vmwrite(0x6c0c, gdtr.base);
    vmwrite(0x4812, idtr.limit); vmwrite(0x6818, idtr.base); vmwrite(0x6c0e, idtr.base);
    vmwrite(0x6800, read_cr0()); vmwrite(0x6c00, read_cr0());
    vmwrite(0x6802, read_cr3()); vmwrite(0x6c02, read_cr3());
    vmwrite(0x6804, read_cr4()); vmwrite(0x6c04, read_cr4());
    vmwrite(0x681a, 0x400);                              /* DR7 */
    vmwrite(0x681c, (u64)(inner_stack + sizeof inner_stack));
    vmwrite(0x681e, (u64)inner);
    vmwrite(0x6820, 2);                                  /* RFLAGS */
}

/* Enter the guest; back with the reason of its exit, or with 0x1000 and CF and ZF where it was not entered. */
static u64 vm_enter(bool again)
{
    u64 flags = again;
    refused = 0;
    asm volatile("push %%rbp; push %%rbx\n\t"
                 "lea 1f(%%rip), %%rdx; mov $0x6c16, %%ecx; vmwrite %%rdx, %%rcx\n\t"
                 "mov $0x6c14, %%ecx; vmwrite %%rsp, %%rcx\n\t"
                 "test %%eax, %%eax; jnz 2f; vmlaunch; jmp 3f; 2: vmresume; 3: pushf; popq refused(%%rip)\n\t"
                 "1: pop %%rbx; pop %%rbp"
                 : "+a"(flags) : : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                   "cc", "memory");
    return refused ? 0x1000 | (refused & 0x41) : vmread(0x4402);
}

TEST(vmx_run)                            /* VMXON, VMCLEAR, VMPTRLD; the reasons of two exits; VMXOFF */
{
    u64 at = (u64)control;
    vmx_prepare(5);
    observe(vmxon(region));
    observe(TRIED("vmclear %1", "m"(at)));
    observe(TRIED("vmptrld %1", "m"(at)));
    vmcs_fill();
    observe(vm_enter(false));
    vmwrite(0x681e, vmread(0x681e) + vmread(0x440c));    /* behind CPUID */
    observe(vm_enter(true));
    observe(vmxoff());
}

static void put64(unsigned at, u64 value) { *(u64 *)(control + at) = value; }
static void put32(unsigned at, u32 value) { *(u32 *)(control + at) = value; }

static void segment(unsigned at, u16 selector, u16 rights, u32 limit, u64 base)
{
    *(u16 *)(control + at) = selector;
    *(u16 *)(control + at + 2) = rights;
    put32(at + 4, limit);
    put64(at + 8, base);
}

static void svm_prepare(void)
{
    struct { u16 limit; u64 base; } __attribute__((packed)) gdtr, idtr;
    asm volatile("sgdt %0; sidt %1" : "=m"(gdtr), "=m"(idtr));
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    memset(saved, 0, PAGE);
    wrmsr(VM_HSAVE_PA, (u64)saved);
    memset(control, 0, PAGE);
    put32(0x00c, 1 << 18 | 1 << 24);                     /* intercepted: CPUID, HLT */
    put32(0x010, 1 << 0 | 1 << 1);                       /* VMRUN, VMMCALL */
    put32(0x058, 1);                                     /* ASID */
    segment(0x400, 0x10, 0xc93, ~0u, 0);                 /* ES, CS, SS, DS */
    segment(0x410, 0x08, 0xa9b, ~0u, 0);
    segment(0x420, 0x10, 0xc93, ~0u, 0);
    segment(0x430, 0x10, 0xc93, ~0u, 0);
    segment(0x460, 0, 0, gdtr.limit, gdtr.base);
    segment(0x480, 0, 0, idtr.limit, idtr.base);
    put64(0x4d0, rdmsr(MSR_EFER));
    put64(0x548, read_cr4());
    put64(0x550, read_cr3());
    put64(0x558, read_cr0());
    put64(0x560, 0x400);                                 /* DR7 */
    put64(0x568, 0xffff0ff0);                            /* DR6 */
    put64(0x570, 2);                                     /* RFLAGS */
    put64(0x578, (u64)inner);
    put64(0x5d8, (u64)(inner_stack + sizeof inner_stack));
    put64(0x668, 0x0007040600070406ull);                 /* PAT */
}

static u64 vmrun(void)                   /* the exit code */
{
    u64 at = (u64)control;
    asm volatile("push %%rbp; push %%rbx; clgi; vmrun; stgi; pop %%rbx; pop %%rbp"
                 : "+a"(at) : : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                   "cc", "memory");
    return *(u64 *)(control + 0x070);
}

TEST(svm_run)                            /* the codes of three exits: CPUID, HLT, VMMCALL */
{
    svm_prepare();
    observe(vmrun());
    put64(0x578, (u64)inner + 4);
    observe(vmrun());
    put64(0x578, (u64)inner + 5);
    observe(vmrun());
}

TEST(svm_refused)                        /* the exit code without EFER.SVME in the VMCB; with ASID 0; and as it must be */
{
    svm_prepare();
    put64(0x4d0, rdmsr(MSR_EFER) & ~(u64)EFER_SVME);
    observe(vmrun());
    put64(0x4d0, rdmsr(MSR_EFER));
    put32(0x058, 0);
    observe(vmrun());
    put32(0x058, 1);
    observe(vmrun());
}

int main(void)
{
    run_test();
    return 0;
}
