/* Model-specific registers: which can be read, what survives exits, who is the bootstrap processor. */
#include "library/tests.h"

#define APIC_BASE_BSP (1 << 8)
#define MSR_KERNEL_GS_BASE 0xc0000102
#define KERNEL_HALF 0xffff800000000000ull
#define ALL_ONES 0xffffffffffffffffull
#define WAKE 0x40

static bool refused;

static void refuse(struct frame *f)      /* RDMSR has two bytes */
{
    f->rip += 2;
    refused = true;
}

static u64 range[] = {0, 0xc0000000, 0xc0010000};
#define LENGTH 0x2000

TEST(scan)                               /* how many can be read at all, and how many hold an address of a kernel, which this
                                            guest has none of */
{
    u64 readable = 0, addresses = 0;
    handle(13, refuse);
    for (unsigned r = 0; r < 3; r++)
        for (u32 n = 0; n < LENGTH; n++) {
            refused = false;
            u64 value = rdmsr(range[r] + n);
            if (refused)
                continue;
            readable++;
            addresses += value >= KERNEL_HALF && value != ALL_ONES;
        }
    observe(readable > 0);
    observe(addresses);
}

static u32 bsp[SMP_MAX];
static unsigned ready;

static void note(unsigned number)
{
    bsp[number] = (rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP) != 0;
    raise(&ready);
}

static void other(unsigned number)
{
    note(number);
    for (;;)
        sti_hlt();
}

TEST(bootstrap)                          /* the flag of each processor; argument 1: how many there are */
{
    note(0);
    smp_start(other);
    await(&ready, arguments[1]);
    for (unsigned n = 0; n < arguments[1]; n++)
        observe(bsp[n]);
}

static void woken(struct frame *f)
{
    (void)f;
    apic_eoi();
}

TEST(kernel_gs_base)                     /* survives a port access and a halt */
{
    handle(WAKE, woken);
    apic_enable(0xff);
    wrmsr(MSR_KERNEL_GS_BASE, arguments[1]);
    host(0xff);
    observe(rdmsr(MSR_KERNEL_GS_BASE));
    apic_timer(WAKE, TIMER_ONE_SHOT, 100000);
    sti_hlt();
    cli();
    observe(rdmsr(MSR_KERNEL_GS_BASE));
}

int main(void)
{
    run_test();
}
