/* Work that a processor with second-level translation does without help.  Act 1 of the host's is before it, act 2 behind
   it; act 3 where a test has two parts. */
#include "library/pages.h"
#include "library/tests.h"

#define FRESH 0x30000000ull              /* argument 1: how many pages of memory the host has put there */
#define ALIAS 0x8000000000ull
#define PAGE 4096

static void step_over(struct frame *f) { f->rip += 2; }

TEST(faults)                             /* as many page faults as argument 1 says, all of the guest's own making */
{
    handle(14, step_over);
    host(1);
    for (u64 n = 0; n < arguments[1]; n++)
        asm volatile(".byte 0x8b, 0x03" : : "b"(ALIAS) : "rax");         /* mov eax, [rbx] */
    host(2);
    observe(read_cr2());
}

TEST(cr3_loads)
{
    u64 tables = read_cr3();
    host(1);
    for (u64 n = 0; n < arguments[1]; n++)
        write_cr3(tables);
    host(2);
}

TEST(invalidations)
{
    host(1);
    for (u64 n = 0; n < arguments[1]; n++)
        invlpg((void *)0x1000);
    host(2);
}

TEST(fresh_pages)                        /* touches each page once, then each by a second address */
{
    for (u64 n = 0; n < arguments[1]; n++)       /* the tables are made first */
        page_map(ALIAS + n * PAGE, FRESH + n * PAGE, PAGE_P | PAGE_W);
    host(1);
    for (u64 n = 0; n < arguments[1]; n++)
        *(volatile u64 *)(FRESH + n * PAGE) = n;
    host(3);
    u64 sum = 0;
    for (u64 n = 0; n < arguments[1]; n++)
        sum += *(volatile u64 *)(ALIAS + n * PAGE);
    host(2);
    observe(sum);
}

TEST(plain)                              /* a loop of plain instructions */
{
    u64 value = arguments[1];
    host(1);
    for (u64 n = 0; n < arguments[1]; n++)
        asm volatile("lea 1(%0,%0,4), %0; rol $7, %0; xor %1, %0" : "+r"(value) : "r"(n));
    host(2);
    observe(value);
}

TEST(cpuids)
{
    host(1);
    for (u64 n = 0; n < arguments[1]; n++)
        cpuid(0, 0);
    host(2);
}

/* Does a translation outlive an exit?  While this program waits in act 1 the host writes `replacement` to the entry at
   `entry_address`; act 3 says that the old page was read thereafter.  Observed: reads that brought neither page, and
   reads behind INVLPG that did not bring the new one. */
u64 entry_address, replacement;
static u64 pages[2][512] __attribute__((aligned(PAGE), section(".noinit")));

TEST(translations)
{
    volatile u64 *linear = (u64 *)ALIAS;
    u64 neither = 0, stale = 0;
    pages[0][0] = 1, pages[1][0] = 2;
    for (u64 n = 0; n < arguments[1]; n++) {
        page_map(ALIAS, (u64)pages[0], PAGE_P | PAGE_W | PAGE_A | PAGE_D);
        entry_address = (u64)page_entry(ALIAS, 1);
        replacement = (u64)pages[1] | PAGE_P | PAGE_W | PAGE_A | PAGE_D;
        neither += *linear != 1;
        host(1);
        u64 saw = *linear;
        neither += saw != 1 && saw != 2;
        if (saw == 1)
            host(3);
        invlpg((void *)ALIAS);
        stale += *linear != 2;
    }
    observe(neither);
    observe(stale);
}

TEST(rewrites)                           /* writes each page three times: before act 1, before act 3, before act 2 */
{
    static const u8 acts[] = {1, 3, 2};
    for (unsigned round = 0; round < sizeof acts; round++) {
        for (u64 n = 0; n < arguments[1]; n++)
            *(volatile u64 *)(FRESH + n * PAGE) = n + round;
        host(acts[round]);
    }
}

static u64 taken;

static void take(struct frame *f)
{
    (void)f;
    taken++;
    apic_eoi();
}

/* Sends itself as many interrupts as argument 1 says, takes them and ends them.  Argument 2: by the MSR SELF IPI (2), by
   ICR of the x2APIC (1), by ICR in memory (0).  Observed: those taken. */
TEST(self_interrupts)
{
    if (arguments[2])
        apic_use_x2();
    apic_enable(0xff);
    handle(0x40, take);
    u64 base = rdmsr(MSR_APIC_BASE) & 0x000ffffffffff000ull;
    host(1);
    for (u64 n = 0; n < arguments[1]; n++) {
        if (arguments[2] == 2)
            wrmsr(0x83f, 0x40);
        else if (arguments[2] == 1)
            wrmsr(0x830, IPI_FIXED | IPI_ASSERT | IPI_SELF | 0x40);
        else
            *(volatile u32 *)(base + APIC_ICR) = IPI_FIXED | IPI_ASSERT | IPI_SELF | 0x40;
        asm volatile("sti; nop; nop; cli" ::: "memory");
    }
    host(2);
    window();
    observe(taken);
}

u64 counter;                             /* what RDTSC read last, for the host */

TEST(clock)                              /* argument 1: rounds between one look at `counter` (act 1) and the next */
{
    for (unsigned look = 0; look < 8; look++) {
        counter = rdtsc();
        host(1);
        for (u64 n = 0; n < arguments[1]; n++)
            asm volatile("" ::: "memory");
    }
}

TEST(offset)                             /* observed: bits 63:40 of the counter, before act 1 and behind it */
{
    observe(rdtsc() >> 40);
    host(1);
    observe(rdtsc() >> 40);
}

u64 top[512] __attribute__((aligned(PAGE), section(".noinit")));

static u64 refused[2];

static void note(struct frame *f)
{
    refused[0] = f->vector, refused[1] = f->error_code;
    step_over(f);
}

static void load(u64 at) { asm volatile(".byte 0x8b, 0x03" : : "b"(at) : "rax", "memory"); }     /* mov eax, [rbx] */

TEST(five_levels)                        /* act 1 turns the fifth level on, with `top` its table: bit 48 is ignored there */
{
    static u64 value;
    for (unsigned n = 0; n < 512; n++)
        top[n] = 0;
    top[0] = top[1] = read_cr3() | PAGE_P | PAGE_W;
    host(1);
    *(volatile u64 *)(1ull << 48 | (u64)&value) = 5;
    observe(value);
    observe(read_cr4() >> 12 & 1);
    handle(13, note);
    handle(14, note);
    load(1ull << 56);                    /* the first address that is not canonical with 57 bits, and the last that is */
    observe(refused[0]);
    observe(refused[1]);
    load((1ull << 56) - 4);
    observe(refused[0]);
    observe(read_cr2());
}

int main(void)
{
    run_test();
    return 0;
}
