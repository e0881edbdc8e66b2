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

int main(void)
{
    run_test();
    return 0;
}
