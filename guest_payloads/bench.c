/* What single operations cost: each test does its operation as many times as argument 1 says, and puts what RDTSC grew by
   into `samples`; the host takes them at act 2.  SAMPLES at most, after a few rounds that are not counted. */
#include "library/pages.h"
#include "library/tests.h"

#define SAMPLES 4096
#define WARM_UP 16
#define PORT 0x510                       /* the host answers both */
#define DEVICE 0x20000000ull
#define FRESH 0x30000000ull              /* memory that nobody has touched: WARM_UP + SAMPLES pages */
#define UNMAPPED 0x8000000000ull
#define PAT 0x277
#define PAGE 4096

u64 samples[SAMPLES] __attribute__((section(".noinit")));

static inline u64 ticks(void)            /* what came before has been done */
{
    u32 low, high;
    asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return low | (u64)high << 32;
}

#define MEASURE(name, prepare, operation)                           \
    TEST(name)                                                      \
    {                                                               \
        prepare;                                                    \
        for (u64 n = 0; n < WARM_UP + arguments[1]; n++) {          \
            u64 before = ticks();                                   \
            operation;                                              \
            u64 after = ticks();                                    \
            if (n >= WARM_UP)                                       \
                samples[n - WARM_UP] = after - before;              \
        }                                                           \
        host(2);                                                    \
    }

static void step_over(struct frame *f) { f->rip += 2; }
static void fetch_unmapped(void) { asm volatile(".byte 0x8b, 0x03" : : "b"(UNMAPPED) : "rax", "memory"); }   /* mov eax, [rbx] */

MEASURE(nothing,     , )
MEASURE(cpuid_exit,  , cpuid(0, 0))
MEASURE(pio_in,      , in8(PORT))
MEASURE(pio_out,     , out8(PORT, 0))
MEASURE(mmio_read,   , *(volatile u32 *)DEVICE)
MEASURE(mmio_write,  , *(volatile u32 *)DEVICE = 0)
MEASURE(msr_read,    , rdmsr(PAT))
MEASURE(msr_write,   u64 pat = rdmsr(PAT), wrmsr(PAT, pat))
MEASURE(cr3_load,    u64 tables = read_cr3(), write_cr3(tables))
MEASURE(invlpg_page, , invlpg((void *)0x1000))
MEASURE(page_fault,  handle(14, step_over), fetch_unmapped())
MEASURE(violation,   , *(volatile u64 *)(FRESH + n * PAGE) = n)
MEASURE(vmcall,      , u64 rax = 1; asm volatile("vmcall" : "+a"(rax) : : "memory"))
MEASURE(vmmcall,     , u64 rax = 1; asm volatile("vmmcall" : "+a"(rax) : : "memory"))

/* From the deadline of the timer to the handler, out of HLT. */
static volatile u64 woken;

static void wake(struct frame *f) { (void)f; woken = ticks(); apic_eoi(); }

TEST(halt)
{
    apic_enable(0xff);
    handle(0x40, wake);
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | 0x40);
    for (u64 n = 0; n < WARM_UP + arguments[1]; n++) {
        u64 due = ticks() + arguments[2];
        woken = 0;
        wrmsr(0x6e0, due);
        while (!woken) {
            sti_hlt();
            cli();
        }
        if (n >= WARM_UP)
            samples[n - WARM_UP] = woken - due;
    }
    host(2);
}

/* From sending to the handler on the other processor, and back by memory; argument 2: it halts in between. */
static volatile unsigned answers, ready;

static void answer(struct frame *f) { (void)f; answers++; apic_eoi(); }

static void other(unsigned number)
{
    (void)number;
    ready = 1;
    sti();
    for (;;)
        if (arguments[2])
            sti_hlt();
        else
            pause();
}

TEST(ipi)
{
    apic_enable(0xff);
    handle(0x41, answer);
    smp_start(other);
    while (!ready)
        pause();
    for (u64 n = 0; n < WARM_UP + arguments[1]; n++) {
        for (unsigned wait = 0; wait < 2000; wait++)   /* until the other has gone back to what it does */
            pause();
        unsigned before = answers;
        u64 start = ticks();
        apic_send(1, IPI_FIXED | IPI_ASSERT | 0x41);
        while (answers == before)
            pause();
        u64 after = ticks();
        if (n >= WARM_UP)
            samples[n - WARM_UP] = after - start;
    }
    host(2);
}

/* Cycles of one load that misses the TLB, its tables in the cache: 512 pages of one size, all the same memory, right
   after a load of CR3; argument 2 is the level of the leaf, 0 for the same load again and again. */
static u64 tables[3][512] __attribute__((aligned(PAGE), section(".noinit")));
static u64 target[512] __attribute__((aligned(PAGE), section(".noinit")));

TEST(walk)
{
    unsigned level = arguments[2] ? arguments[2] : 2;
    u64 *pml4 = (u64 *)(read_cr3() & ~0xfffull);
    u64 base = 2ull << 39, stride = arguments[2] ? 1ull << (3 + 9 * level) : 0;
    for (unsigned n = 0; n < 512; n++) {
        u64 leaf = level == 1 ? (u64)target : 0;
        tables[0][n] = leaf | PAGE_P | PAGE_W | PAGE_A | PAGE_D | (level > 1 ? PAGE_PS : 0);
        tables[1][n] = tables[2][n] = 0;
    }
    u64 *at = tables[0];
    for (unsigned l = level; l < 3; l++) {
        tables[l][0] = (u64)at | PAGE_P | PAGE_W | PAGE_A;
        at = tables[l];
    }
    pml4[2] = (u64)at | PAGE_P | PAGE_W | PAGE_A;
    u64 offset = level == 1 ? 0 : (u64)target;
    for (unsigned n = 0; n < 512; n++)
        target[n] = 0;
    for (u64 round = 0; round < WARM_UP + arguments[1]; round++) {
        write_cr3(read_cr3());
        u64 zero = 0, before = ticks();
        for (u64 n = 0; n < 512; n++)
            zero = *(volatile u64 *)(base + offset + n * stride + zero);
        u64 after = ticks();
        if (round >= WARM_UP)
            samples[round - WARM_UP] = (after - before) / 512;
    }
    host(2);
}

int main(void)
{
    run_test();
    return 0;
}
