/* Interrupts between processors.  Argument 1: as x2APIC; argument 2: how many processors.

   Every processor counts what it takes by vector.  When a test has sent its IPI it sends FENCE, which is less urgent, to
   each other one: who has taken that has taken whatever came before. */
#include "library/ioapic.h"
#include "library/string.h"
#include "library/tests.h"

#define SPURIOUS 0xff
#define FENCE 0x30
#define PROBE 0x40
#define MOST 8

static volatile unsigned counts[MOST][256], ready, released;
static volatile u32 nmi_service;

static unsigned processors(void) { return arguments[2]; }

static void on_interrupt(struct frame *f)
{
    raise(&counts[apic_id()][f->vector]);
    apic_eoi();
}

static void on_nmi(struct frame *f)
{
    for (unsigned n = 0; n < 8; n++)
        nmi_service |= apic_read(APIC_IRR + 16 * n) | apic_read(APIC_ISR + 16 * n);
    raise(&counts[apic_id()][f->vector]);
}

static void ready_to_take(unsigned number)
{
    (void)number;
    if (arguments[1])
        apic_use_x2();
    else {
        apic_write(APIC_DFR, 0xffffffff);
        apic_write(APIC_LDR, 1u << (24 + apic_id()));
    }
    raise(&ready);
}

static void take(unsigned number)
{
    ready_to_take(number);
    for (;;)
        sti_hlt();
}

static void start(void)
{
    handle(PROBE, on_interrupt);
    handle(FENCE, on_interrupt);
    handle(2, on_nmi);
    apic_enable(SPURIOUS);
    smp_start(take);
    ready_to_take(0);
    await(&ready, processors());
}

static void fence(void)
{
    for (unsigned n = 0; n < processors(); n++)
        apic_send(n, IPI_FIXED | IPI_ASSERT | FENCE);
    for (unsigned n = 0; n < processors(); n++)
        while (!counts[n][FENCE])
            window();
}

static void tell(u8 vector)              /* how often each processor has taken it */
{
    fence();
    for (unsigned n = 0; n < processors(); n++)
        observe(counts[n][vector]);
}

TEST(physical)
{
    start();
    apic_send(1, IPI_FIXED | IPI_ASSERT | PROBE);
    tell(PROBE);
}

TEST(logical)                            /* to processors 1 and 2 */
{
    start();
    apic_send(6, IPI_FIXED | IPI_ASSERT | IPI_LOGICAL | PROBE);
    tell(PROBE);
}

TEST(broadcast)
{
    start();
    apic_send(arguments[1] ? 0xffffffff : 0xff, IPI_FIXED | IPI_ASSERT | PROBE);
    tell(PROBE);
}

TEST(others)
{
    start();
    apic_send(0, IPI_FIXED | IPI_ASSERT | IPI_OTHERS | PROBE);
    tell(PROBE);
}

TEST(everybody)
{
    start();
    apic_send(0, IPI_FIXED | IPI_ASSERT | IPI_ALL | PROBE);
    tell(PROBE);
}

TEST(nmi)                                /* how often each has taken it; what was in IRR and ISR then */
{
    start();
    apic_send(1, IPI_NMI | IPI_ASSERT);
    while (!counts[1][2])
        pause();
    tell(2);
    observe(nmi_service);
}

TEST(host_message)                            /* the host sends */
{
    start();
    host(0);
    tell(PROBE);
}

TEST(line)                               /* of the I/O APIC: to the destination of argument 3, logical with argument 4 */
{
    start();
    ioapic_route(20, PROBE | (arguments[4] ? IPI_LOGICAL : 0), arguments[3]);
    host(0);
    tell(PROBE);
}

TEST(wakes)                              /* a halted processor takes one IPI after the other: how many of 100 */
{
    start();
    for (unsigned n = 0; n < 100; n++) {
        apic_send(1, IPI_FIXED | IPI_ASSERT | PROBE);
        while (counts[1][PROBE] <= n)
            pause();
    }
    observe(counts[1][PROBE]);
}

#define ROUNDS 300

static void pass_on(struct frame *f)     /* round the ring; the first processor stops it */
{
    unsigned me = apic_id();
    raise(&counts[me][f->vector]);
    apic_eoi();
    if (me || counts[0][f->vector] < ROUNDS)
        apic_send((me + 1) % processors(), IPI_FIXED | IPI_ASSERT | f->vector);
}

TEST(ring)                               /* how often each was reached */
{
    start();
    handle(PROBE, pass_on);
    apic_send(1, IPI_FIXED | IPI_ASSERT | PROBE);
    while (counts[0][PROBE] < ROUNDS)
        window();
    for (unsigned n = 0; n < processors(); n++)
        observe(counts[n][PROBE]);
}

/* HLT with interrupts off: only an NMI ends it. */
extern const char behind_hlt[];
asm("halts: cli; hlt\n behind_hlt: ret");
void halts(void);

static volatile u64 nmi_rip;
static volatile unsigned awake, halting, started;

static void note_rip(struct frame *f) { nmi_rip = f->rip; }

static void sleep(unsigned number)
{
    ready_to_take(number);
    await(&started, 1);                  /* the second SIPI is past */
    raise(&halting);
    halts();
    raise(&awake);
    for (;;)
        sti_hlt();
}

static void linger(void)
{
    for (unsigned n = 0; n < 2000; n++)
        apic_id();
}

static void put_to_sleep(void)
{
    handle(2, note_rip);
    smp_start(sleep);
    ready_to_take(0);
    linger();
    raise(&started);
    await(&halting, 1);
    linger();
}

TEST(sipi_to_halted)                     /* is it awake */
{
    put_to_sleep();
    apic_send(1, IPI_STARTUP | IPI_ASSERT | 8);
    linger();
    observe(awake);
}

/* Is it awake after a fixed interrupt (0); does an NMI wake it; is RIP then behind HLT; was the interrupt kept. */
TEST(halted_deaf)
{
    handle(PROBE, on_interrupt);
    put_to_sleep();
    apic_send(1, IPI_FIXED | IPI_ASSERT | PROBE);
    linger();                            /* it has time to do wrong */
    observe(awake);
    observe(counts[1][PROBE]);
    while (!awake) {                     /* more than one: the first may come before HLT */
        apic_send(1, IPI_NMI | IPI_ASSERT);
        for (unsigned n = 0; n < 200 && !awake; n++)
            apic_id();
    }
    observe(nmi_rip == (u64)behind_hlt);
    while (!counts[1][PROBE])
        pause();
    observe(counts[1][PROBE]);
}

/* INIT and SIPI. */
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

static volatile unsigned second_runs;

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

int main(void)
{
    run_test();
    return 0;
}
