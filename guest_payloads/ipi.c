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

/* ---- destinations that name nobody, or one of several */

TEST(nobody)                             /* a physical destination without a processor: who took it; is the command on its way still */
{
    start();
    apic_send(arguments[1] ? 0xff : 200, IPI_FIXED | IPI_ASSERT | PROBE);
    tell(PROBE);
    observe(apic_read(APIC_ICR) >> 12 & 1);
}

static volatile unsigned moved;

static void join_cluster(struct frame *f)        /* two processors in cluster 2, the others in cluster 3 */
{
    (void)f;
    u32 id = apic_id();
    apic_write(APIC_LDR, (id < 2 ? 0x20u : 0x30u) << 24 | 1u << (24 + id % 2));
    apic_write(APIC_DFR, 0x0fffffff);
    apic_eoi();
    raise(&moved);
}

#define MOVE 0x38

TEST(cluster)                            /* to both bits of cluster 2; then to bit 1 of cluster 3 */
{
    start();
    handle(MOVE, join_cluster);
    for (unsigned n = 0; n < processors(); n++)
        apic_send(n, IPI_FIXED | IPI_ASSERT | MOVE);
    while (moved < processors())
        window();
    apic_send(0x23, IPI_FIXED | IPI_ASSERT | IPI_LOGICAL | PROBE);
    apic_send(0x32, IPI_FIXED | IPI_ASSERT | IPI_LOGICAL | PROBE);
    tell(PROBE);
}

TEST(x2_cluster)                         /* to bits 1 and 2 of cluster 0; to bit 1 of cluster 1, where nobody is */
{
    start();
    apic_send(6, IPI_FIXED | IPI_ASSERT | IPI_LOGICAL | PROBE);
    apic_send(1 << 16 | 2, IPI_FIXED | IPI_ASSERT | IPI_LOGICAL | PROBE);
    tell(PROBE);
}

#define IPI_LOWEST (1 << 8)

static void tell_sum(void)               /* how many of processors 1 and 2 have taken it, how often the others */
{
    fence();
    observe(counts[1][PROBE] + counts[2][PROBE]);
    observe(counts[0][PROBE]);
}

TEST(lowest)                             /* ten times to processors 1 and 2, of whom one takes it each time */
{
    start();
    for (unsigned n = 1; n <= 10; n++) {
        apic_send(6, IPI_LOWEST | IPI_ASSERT | IPI_LOGICAL | PROBE);
        while (counts[1][PROBE] + counts[2][PROBE] < n)
            pause();
    }
    tell_sum();
}

TEST(line_lowest)                        /* the same by a line of the I/O APIC, once */
{
    start();
    ioapic_route(20, IPI_LOWEST | IPI_LOGICAL | PROBE, 6);
    host(0);
    while (!(counts[1][PROBE] + counts[2][PROBE]))
        pause();
    tell_sum();
}

static volatile unsigned off, enable;

static void take_nmis_only(unsigned number)
{
    ready_to_take(number);
    apic_write(APIC_SVR, SPURIOUS);
    raise(&off);
    sti();
    await(&enable, 1);
    apic_enable(SPURIOUS);
    for (;;)
        sti_hlt();
}

TEST(to_disabled)                        /* an APIC that SVR disables: fixed interrupts and NMIs taken, by processor 1; fixed ones after */
{
    handle(PROBE, on_interrupt);
    handle(FENCE, on_interrupt);
    handle(2, on_interrupt);
    apic_enable(SPURIOUS);
    smp_start(take_nmis_only);
    ready_to_take(0);
    await(&off, 1);
    apic_send(1, IPI_FIXED | IPI_ASSERT | PROBE);
    apic_send(1, IPI_NMI | IPI_ASSERT);
    await(&counts[1][2], 1);
    observe(counts[1][PROBE]);
    observe(counts[1][2]);
    raise(&enable);
    while (!counts[1][FENCE])            /* the first may come too early */
        apic_send(1, IPI_FIXED | IPI_ASSERT | FENCE);
    observe(counts[1][PROBE]);
}

TEST(nmi_others)                         /* how often each takes an NMI to all but the sender */
{
    start();
    handle(2, on_nmi);
    apic_send(0, IPI_NMI | IPI_ASSERT | IPI_OTHERS);
    for (unsigned n = 1; n < processors(); n++)
        await(&counts[n][2], 1);
    tell(2);
}

/* ---- all to all: requests of one vector may become one, and the last is never lost */
#define STORM 100

static volatile unsigned sent, stormed;

static void storm(unsigned number)
{
    ready_to_take(number);
    sti();
    await(&released, 1);
    for (unsigned n = 0; n < STORM; n++) {
        raise(&sent);
        apic_send(0, IPI_FIXED | IPI_ASSERT | IPI_OTHERS | PROBE);
    }
    raise(&stormed);
    for (;;)
        sti_hlt();
}

TEST(all_to_all)                         /* processors that took none, or more than were sent; that did not take one sent at the end */
{
    handle(PROBE, on_interrupt);
    handle(FENCE, on_interrupt);
    apic_enable(SPURIOUS);
    smp_start(storm);
    ready_to_take(0);
    await(&ready, processors());
    raise(&released);
    for (unsigned n = 0; n < STORM; n++) {
        raise(&sent);
        apic_send(0, IPI_FIXED | IPI_ASSERT | IPI_OTHERS | PROBE);
        window();
    }
    while (stormed < processors() - 1)
        window();
    fence();
    unsigned wrong = 0, lost = 0, before[MOST];
    for (unsigned n = 0; n < processors(); n++) {
        before[n] = counts[n][PROBE];
        wrong += !before[n] || before[n] > sent;
        counts[n][FENCE] = 0;
    }
    apic_send(0, IPI_FIXED | IPI_ASSERT | IPI_ALL | PROBE);
    fence();
    for (unsigned n = 0; n < processors(); n++)
        lost += counts[n][PROBE] != before[n] + 1;
    observe(wrong);
    observe(lost);
}

static volatile unsigned flags;

static void count_flag(unsigned number)
{
    ready_to_take(number);
    if (rdmsr(MSR_APIC_BASE) & 1 << 8)
        raise(&flags);
    raise(&released);
}

TEST(bsp_flags)                          /* processors with IA32_APIC_BASE.BSP; is it this one */
{
    apic_enable(SPURIOUS);
    smp_start(count_flag);
    await(&released, processors() - 1);
    unsigned mine = rdmsr(MSR_APIC_BASE) >> 8 & 1;
    observe(flags + mine);
    observe(mine);
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

static volatile unsigned nmi_behind_hlt;
static volatile unsigned awake, halting, started;

static void note_rip(struct frame *f) { nmi_behind_hlt |= f->rip == (u64)behind_hlt; }

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

static void put_to_sleep(void (*how)(unsigned number))
{
    handle(2, note_rip);
    smp_start(how);
    ready_to_take(0);
    linger();
    raise(&started);
    await(&halting, 1);
    linger();
}

TEST(sipi_to_halted)                     /* is it awake */
{
    put_to_sleep(sleep);
    apic_send(1, IPI_STARTUP | IPI_ASSERT | 8);
    linger();
    observe(awake);
}

/* Is it awake after a fixed interrupt (0); does an NMI wake it; is RIP then behind HLT; was the interrupt kept. */
TEST(halted_deaf)
{
    handle(PROBE, on_interrupt);
    put_to_sleep(sleep);
    apic_send(1, IPI_FIXED | IPI_ASSERT | PROBE);
    linger();                            /* it has time to do wrong */
    observe(awake);
    observe(counts[1][PROBE]);
    while (!awake) {                     /* more than one: the first may come before HLT */
        apic_send(1, IPI_NMI | IPI_ASSERT);
        for (unsigned n = 0; n < 200 && !awake; n++)
            apic_id();
    }
    observe(nmi_behind_hlt);
    while (!counts[1][PROBE])
        pause();
    observe(counts[1][PROBE]);
}

/* The same with interrupts on, and a task priority that holds the interrupt back. */
static void sleep_urgent(unsigned number)
{
    ready_to_take(number);
    apic_write(APIC_TPR, 0xf0);
    await(&started, 1);
    raise(&halting);
    sti_hlt();
    raise(&awake);
    apic_write(APIC_TPR, 0);
    for (;;)
        sti_hlt();
}

TEST(halted_urgent)                      /* is it awake after the fixed interrupt (0); was that kept, once an NMI has ended the halt */
{
    handle(PROBE, on_interrupt);
    put_to_sleep(sleep_urgent);
    apic_send(1, IPI_FIXED | IPI_ASSERT | PROBE);
    linger();
    observe(awake);
    while (!awake) {
        apic_send(1, IPI_NMI | IPI_ASSERT);
        for (unsigned n = 0; n < 200 && !awake; n++)
            apic_id();
    }
    while (!counts[1][PROBE])
        pause();
    observe(counts[1][PROBE]);
}

int main(void)
{
    run_test();
    return 0;
}
