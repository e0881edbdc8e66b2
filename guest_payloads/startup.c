/* INIT and SIPI, and the processors that they stop and start.  Argument 2: how many processors. */
#include "library/string.h"
#include "library/tests.h"

#define SPURIOUS 0xff

static void linger(void)                 /* another processor has time to do wrong */
{
    for (unsigned n = 0; n < 2000; n++)
        apic_id();
}

static volatile u64 beats;
static volatile unsigned starts;
static u64 marker;

static void beat(unsigned number)
{
    (void)number;
    starts++;
    asm volatile("mov $0x1111, %%rbx; mov $0x2222, %%rsi; mov $0x3333, %%r12\n1: lock incq %0; jmp 1b"
                 : "+m"(beats) : : "rbx", "rsi", "r12", "memory");
}

static void silence(void)                /* INIT, and until the processor stands still */
{
    apic_send(1, IPI_INIT | IPI_ASSERT | IPI_LEVEL);
    apic_send(1, IPI_INIT | IPI_LEVEL);
    for (u64 before = ~0ull; before != beats;) {
        before = beats;
        for (unsigned n = 0; n < 500; n++)
            apic_id();
    }
}

TEST(init)                               /* starts; after INIT: does it stand; after SIPI: starts, does it run; the memory it had */
{
    smp_start(beat);
    while (!beats)
        pause();
    observe(starts);
    marker = 0x1122334455667788;
    silence();
    u64 at = beats;
    for (unsigned n = 0; n < 2000; n++)
        apic_id();
    observe(beats == at);
    apic_send(1, IPI_STARTUP | IPI_ASSERT | 8);
    while (beats == at)
        pause();
    observe(starts);
    observe(marker);
}

/* The first instructions after SIPI, copied to the page it names: they write what they find to the same page. */
asm(".pushsection .data\n .code16\n real_start:\n"
    "movl %eax, %cs:0x100\n movl %ebx, %cs:0x104\n movl %ecx, %cs:0x108\n movl %edx, %cs:0x10c\n"
    "movl %esi, %cs:0x110\n movl %edi, %cs:0x114\n movl %ebp, %cs:0x118\n movl %esp, %cs:0x11c\n"
    "mov %cs, %ax\n movw %ax, %cs:0x120\n mov %ds, %ax\n movw %ax, %cs:0x122\n"
    "mov %ss, %ax\n movw %ax, %cs:0x124\n mov %es, %ax\n movw %ax, %cs:0x126\n"
    "movl %cr0, %eax\n movl %eax, %cs:0x128\n movl %cr4, %eax\n movl %eax, %cs:0x12c\n"
    "movl %cr3, %eax\n movl %eax, %cs:0x130\n movw $1, %cs:0x140\n"
    "1: cli\n hlt\n jmp 1b\n real_end:\n .code64\n .popsection");
extern const char real_start[], real_end[];

#define CR0_CACHE 0x60000000u            /* INIT leaves CD and NW as they are */

static void look(u8 page)                /* general registers but EDX, CS, other segments, CR0, CR4, CR3 */
{
    volatile u8 *at = (u8 *)((u64)page << 12);
    memcpy((void *)at, real_start, real_end - real_start);
    memset((void *)(at + 0x100), 0xa5, 0x40);
    *(volatile u16 *)(at + 0x140) = 0;
    apic_send(1, IPI_STARTUP | IPI_ASSERT | page);
    while (!*(volatile u16 *)(at + 0x140))
        pause();
    volatile u32 *found = (volatile u32 *)(at + 0x100);
    u32 any = 0;
    for (unsigned n = 0; n < 8; n++)
        any |= n == 3 ? 0 : found[n];
    observe(any);
    observe(found[8] & 0xffff);
    observe(found[8] >> 16 | found[9]);
    observe(found[10] & ~CR0_CACHE);
    observe(found[11]);
    observe(found[12]);
}

TEST(sipi)                               /* of a processor that was never started, at the page of argument 3 */
{
    apic_enable(SPURIOUS);
    apic_send(1, IPI_INIT | IPI_ASSERT | IPI_LEVEL);
    apic_send(1, IPI_INIT | IPI_LEVEL);
    look(arguments[3]);
}

TEST(init_running)                       /* of one that runs in 64-bit mode with values in its registers */
{
    smp_start(beat);
    while (!beats)
        pause();
    silence();
    look(9);
}

/* ---- a processor that the host has started */

/* Not in .bss, which the first processor clears, perhaps when the second has run already. */
static volatile unsigned second_runs __attribute__((section(".data")));

__attribute__((used)) _Noreturn void second_entry(void)
{
    raise(&second_runs);
    for (;;)
        asm volatile("cli; hlt");
}

TEST(made_runnable)                      /* the second processor runs, which nobody here has started */
{
    await(&second_runs, 1);
    observe(second_runs);
}

/* ---- what does not start a processor */

static volatile u8 *const page9 = (u8 *)0x9000;

static void place_code(void)             /* what `look` runs, at page 9 */
{
    memcpy((void *)page9, real_start, real_end - real_start);
    *(volatile u16 *)(page9 + 0x140) = 0;
}

static unsigned has_run(void)
{
    linger();
    return *(volatile u16 *)(page9 + 0x140);
}

TEST(sipi_running)                       /* a SIPI to one that runs: does it run on (1), has it started anew (0) */
{
    place_code();
    smp_start(beat);
    while (!beats)
        pause();
    linger();                            /* the second SIPI is past */
    apic_send(1, IPI_STARTUP | IPI_ASSERT | 9);
    u64 at = beats;
    while (beats < at + 1000)
        pause();
    observe(1);
    observe(has_run());
}

TEST(init_deassert)                      /* INIT with level 0 stops nobody: does it run on (1), how often was it started */
{
    smp_start(beat);
    while (!beats)
        pause();
    linger();
    apic_send(1, IPI_INIT | IPI_LEVEL);
    linger();
    u64 at = beats;
    while (beats < at + 1000)
        pause();
    observe(1);
    observe(starts);
}

/* ---- the host looks at the second processor: acts 0, 1 and 2 */

TEST(shown_to_host)                      /* before INIT, after INIT, after SIPI */
{
    apic_enable(SPURIOUS);
    host(0);
    apic_send(1, IPI_INIT | IPI_ASSERT | IPI_LEVEL);
    apic_send(1, IPI_INIT | IPI_LEVEL);
    host(1);
    apic_send(1, IPI_STARTUP | IPI_ASSERT | 9);
    host(2);
    observe(0);
}

/* ---- INIT to the first processor, by the second: it goes to its reset vector, FFFFFFF0H, where the host has put a jump
   to here: real mode, CS base FFFF0000H */
static volatile unsigned sender_ready;

static void resets_the_first(unsigned number)
{
    (void)number;
    raise(&sender_ready);
    linger();
    apic_send(0, IPI_INIT | IPI_ASSERT | IPI_LEVEL);
    apic_send(0, IPI_INIT | IPI_LEVEL);
    linger();
    while (!*(volatile u16 *)(page9 + 0x140))    /* the code at the reset vector has run */
        pause();
    observe(*(volatile u16 *)(page9 + 0x120));
    done();
}

TEST(first_reset)                        /* what CS was at the reset vector, as the first processor wrote it to page 9 */
{
    *(volatile u16 *)(page9 + 0x140) = 0;
    smp_start(resets_the_first);
    await(&sender_ready, 1);
    for (;;)
        asm volatile("lock incq %0" : "+m"(beats) : : "memory");
}

int main(void)
{
    run_test();
    return 0;
}
