/* What CPUID answers, and whether the processor keeps to it. */
#include "library/tests.h"

#define CR4_OSXSAVE (1 << 18)
#define CR4_PKE (1 << 22)
#define APIC_BASE_EN (1 << 11)
#define XSAVE_LEGACY 576                 /* bytes: the legacy region and the header */

#define REQUESTS 250
__attribute__((used)) u64 requests[REQUESTS];    /* act 0 has the host write them: a leaf, its subleaf in bits 63:32 */

TEST(dump)                               /* argument 1: how many; two observations each, EBX:EAX and EDX:ECX */
{
    host(0);
    for (u64 n = 0; n < arguments[1] && n < REQUESTS; n++) {
        struct cpuid r = cpuid(requests[n], requests[n] >> 32);
        observe((u64)r.ebx << 32 | r.eax);
        observe((u64)r.edx << 32 | r.ecx);
    }
}

static bool refused;

static void refuse(struct frame *f)      /* MOV to CR4 and XSETBV have three bytes */
{
    f->rip += 3;
    refused = true;
}

static u64 leaf_bit(u32 leaf, bool ecx, unsigned bit)
{
    struct cpuid r = cpuid(leaf, 0);
    return ((ecx ? r.ecx : r.edx) >> bit) & 1;
}

static void follow(u64 flag, u32 leaf, unsigned bit)     /* a bit of ECX: CR4's flag off, on, off */
{
    u64 cr4 = read_cr4() & ~flag;
    write_cr4(cr4);
    observe(leaf_bit(leaf, true, bit));
    write_cr4(cr4 | flag);
    observe(leaf_bit(leaf, true, bit));
    write_cr4(cr4);
    observe(leaf_bit(leaf, true, bit));
}

TEST(osxsave) { follow(CR4_OSXSAVE, 1, 27); }
TEST(ospke) { follow(CR4_PKE, 7, 4); }

TEST(apic)                               /* the local APIC on, off, on */
{
    u64 base = rdmsr(MSR_APIC_BASE);
    observe(leaf_bit(1, false, 9));
    wrmsr(MSR_APIC_BASE, base & ~(u64)APIC_BASE_EN);
    observe(leaf_bit(1, false, 9));
    wrmsr(MSR_APIC_BASE, base);
    observe(leaf_bit(1, false, 9));
}

static bool set_xcr0(u64 value)
{
    refused = false;
    asm volatile(".byte 0x0f, 0x01, 0xd1" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
    return !refused;
}

static void xsave_on(void)
{
    handle(13, refuse);
    write_cr4(read_cr4() | CR4_OSXSAVE);
}

TEST(xcr0)                               /* the host writes values; which of them does XSETBV take? */
{
    host(0);
    xsave_on();
    for (u64 n = 0; n < arguments[1] && n < REQUESTS; n++)
        observe(set_xcr0(requests[n]));
}

TEST(sizes)                              /* with each value of XCR0: EBX and ECX of leaf 0DH.0, EBX of leaf 0DH.1 */
{
    host(0);
    xsave_on();
    for (u64 n = 0; n < arguments[1] && n < 100; n++) {
        observe(set_xcr0(requests[n]));
        struct cpuid r = cpuid(0xd, 0);
        observe(r.ebx);
        observe(r.ecx);
        observe(cpuid(0xd, 1).ebx);
    }
}

#define CR0_EM (1 << 2)
#define CR0_TS (1 << 3)

static u8 area[16384] __attribute__((aligned(64)));

TEST(xsave)                              /* XCR0 = 3, every component asked for: what was written, of the bytes behind
                                            the header, and which components does the header name beyond those two? */
{
    xsave_on();
    write_cr0(read_cr0() & ~(u64)(CR0_EM | CR0_TS));
    observe(set_xcr0(3));
    for (unsigned n = 0; n < sizeof area; n++)
        area[n] = n < XSAVE_LEGACY ? 0 : 0x5a;
    asm volatile("xsave64 %0" : "+m"(area) : "a"(-1), "d"(-1) : "memory");
    u64 changed = 0;
    for (unsigned n = XSAVE_LEGACY; n < sizeof area; n++)
        changed += area[n] != 0x5a;
    observe(changed);
    observe(*(u64 *)(area + 512) & ~(u64)3);
}

#define MSR_X2APIC_ID 0x802

TEST(x2apic_id)                          /* EDX of leaf 0BH in each of its subleaves, minus the x2APIC ID */
{
    apic_use_x2();
    u32 id = rdmsr(MSR_X2APIC_ID);
    for (u32 n = 0; n < 3; n++)
        observe(cpuid(0xb, n).edx - id);
}

TEST(initial_apic_id)                    /* of leaf 1, minus that of the local APIC */
{
    observe((cpuid(1, 0).ebx >> 24) - apic_id());
}

int main(void)
{
    run_test();
}
