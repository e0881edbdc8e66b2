/* The timer of the local APIC, the 8254, the time stamp counter: what comes and in what order.  No test says how long
   anything takes. */
#include "library/tests.h"

#define VECTOR 0x50
#define LONG 0xffffffffu                 /* seconds at the least, on any bus */
#define TSC_DEADLINE 0x6e0

static volatile unsigned count;
static volatile u64 came, deadline, rip;

static void on_timer(struct frame *f)
{
    came = rdtsc();
    rip = f->rip;
    count++;
    apic_eoi();
}

static void start(void)
{
    apic_enable(0xff);
    handle(VECTOR, on_timer);
}

static void linger(void)
{
    for (unsigned n = 0; n < 300; n++)
        window();
}

TEST(one_shot)                           /* how often, the count behind it */
{
    start();
    apic_timer(VECTOR, TIMER_ONE_SHOT, 10000);
    while (!count)
        window();
    linger();
    observe(count);
    observe(apic_read(APIC_TIMER_CURRENT));
}

#define PERIOD 1000000                   /* KVM makes periods below 200 us longer */

TEST(periodic)                           /* does it come a fifth time, does the count stay within the period */
{
    start();
    bool within = true;
    apic_timer(VECTOR, TIMER_PERIODIC, PERIOD);
    while (count < 5) {
        within &= apic_read(APIC_TIMER_CURRENT) <= PERIOD;
        window();
    }
    observe(count >= 5);
    observe(within);
}

TEST(counts_down)                        /* steps up among 100, did it move */
{
    start();
    apic_timer(VECTOR, TIMER_ONE_SHOT | LVT_MASKED, LONG);
    u32 first = apic_read(APIC_TIMER_CURRENT), last = first;
    unsigned up = first > LONG;
    for (unsigned n = 0; n < 100; n++) {
        u32 now = apic_read(APIC_TIMER_CURRENT);
        up += now > last;
        last = now;
    }
    observe(up);
    observe(last < first);
}

TEST(masked)                             /* interrupts of a masked timer that has run out, and whether it ran out */
{
    start();
    apic_timer(VECTOR, TIMER_ONE_SHOT | LVT_MASKED, 1000);
    while (apic_read(APIC_TIMER_CURRENT))
        pause();
    linger();
    observe(count);
    observe(apic_bit(APIC_IRR, VECTOR));
}

TEST(stopped)                            /* a count of 0 stops it: the count, interrupts */
{
    start();
    apic_timer(VECTOR, TIMER_ONE_SHOT, LONG);
    apic_write(APIC_TIMER_INITIAL, 0);
    observe(apic_read(APIC_TIMER_CURRENT));
    linger();
    observe(count);
}

TEST(to_deadline)                        /* the count behind a change of mode, interrupts */
{
    start();
    apic_timer(VECTOR, TIMER_ONE_SHOT, LONG);
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | VECTOR);
    observe(apic_read(APIC_TIMER_CURRENT));
    linger();
    observe(count);
}

static void arm(u64 at)
{
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | VECTOR);
    asm volatile("mfence" ::: "memory");
    deadline = at;
    wrmsr(TSC_DEADLINE, at);
}

TEST(deadline_fires)                     /* how often, not before the deadline, what the MSR reads then */
{
    start();
    arm(rdtsc() + 20000000);
    while (!count)
        window();
    linger();
    observe(count);
    observe(came >= deadline);
    observe(rdmsr(TSC_DEADLINE));
}

TEST(deadline_past)
{
    start();
    arm(1);
    while (!count)
        window();
    linger();
    observe(count);
    observe(rdmsr(TSC_DEADLINE));
}

TEST(deadline_zero)                      /* the MSR reads what was written; 0 disarms */
{
    start();
    arm(1ull << 62);
    observe(rdmsr(TSC_DEADLINE));
    wrmsr(TSC_DEADLINE, 0);
    observe(rdmsr(TSC_DEADLINE));
    linger();
    observe(count);
}

extern const char behind_hlt[];
asm("sleeps: sti; hlt\n behind_hlt: cli; ret");
void sleeps(void);

TEST(wakes)                              /* the timer ends HLT: how often, is RIP behind HLT */
{
    start();
    apic_timer(VECTOR, TIMER_ONE_SHOT, 100000);
    sleeps();
    observe(count);
    observe(rip == (u64)behind_hlt);
}

TEST(deadline_wakes)
{
    start();
    arm(rdtsc() + 1000000);
    sleeps();
    observe(count);
    observe(rip == (u64)behind_hlt);
}

/* ---- the 8254: channel 0 behind line 0, channel 2 behind a gate of port 61H */

#define CONTROL 0x43
#define GATES 0x61

static void pit(unsigned channel, unsigned mode, u16 value)
{
    out8(CONTROL, channel << 6 | 0x30 | mode << 1);
    out8(0x40 + channel, value);
    out8(0x40 + channel, value >> 8);
}

static u16 pit_read(unsigned channel)    /* of a latched value */
{
    u8 low = in8(0x40 + channel);
    return low | in8(0x40 + channel) << 8;
}

static u16 pit_now(unsigned channel)
{
    out8(CONTROL, channel << 6);
    return pit_read(channel);
}

static void pass(unsigned ticks)         /* of channel 2 */
{
    u16 last = pit_now(2);
    for (unsigned gone = 0; gone < ticks;) {
        u16 now = pit_now(2);
        gone += (u16)(last - now);
        last = now;
    }
}

static void on_line_0(struct frame *f)
{
    (void)f;
    count++;
    out8(0x20, 0x20);
}

TEST(pit_periodic)                       /* mode 2 on line 0 of the 8259: does it come a fifth time */
{
    apic_enable(0xff);
    apic_write(APIC_LVT_LINT0, 0x700);
    out8(0x20, 0x11), out8(0x21, 0x20), out8(0x21, 4), out8(0x21, 1), out8(0x21, 0xfe);
    handle(0x20, on_line_0);
    pit(0, 2, 2000);
    while (count < 5)
        window();
    observe(count >= 5);
}

TEST(pit_latch)                          /* a latched value stays, the counter does not */
{
    bool stays = false;
    out8(GATES, in8(GATES) | 1);
    pit(2, 2, 0);
    pit(0, 2, 0);
    for (unsigned try = 0; try < 3 && !stays; try++) {   /* a counter may have gone all the way round */
        u16 before = pit_now(0);
        out8(CONTROL, 0);
        pass(0x2000);
        u16 latched = pit_read(0), now = pit_now(0);
        stays = (u16)(before - latched) < (u16)(before - now) && (u16)(latched - now) >= 0x1f00;
    }
    observe(stays);
}

TEST(pit_gate)                           /* channel 2 with the gate low, while channel 0 counts: steps; high: does it move */
{
    pit(0, 2, 0);
    out8(GATES, in8(GATES) | 1);
    pit(2, 2, 0);
    out8(GATES, in8(GATES) & ~1);
    u16 held = pit_now(2), at = pit_now(0);
    while ((u16)(at - pit_now(0)) < 0x400)
        ;
    observe(pit_now(2) != held);
    out8(GATES, in8(GATES) | 1);
    held = pit_now(2);
    while (pit_now(2) == held)
        ;
    observe(1);
}

TEST(pit_out)                            /* OUT of channel 2 in mode 0: before the gate opens, in the end */
{
    out8(GATES, in8(GATES) & ~1);
    pit(2, 0, 2000);
    observe(in8(GATES) >> 5 & 1);
    out8(GATES, in8(GATES) | 1);
    while (!(in8(GATES) & 0x20))
        ;
    observe(in8(GATES) >> 5 & 1);
}

/* ---- the time stamp counter */

TEST(tsc_one)                            /* steps that are not up: of 20000 on end, of 500 across exits */
{
    unsigned back = 0;
    u64 last = rdtsc();
    for (unsigned n = 0; n < 20000; n++) {
        u64 now = rdtsc();
        back += now < last;
        last = now;
    }
    observe(back);
    back = 0;
    for (unsigned n = 0; n < 500; n++) {
        host(0xff);
        u64 now = rdtsc();
        back += now <= last;
        last = now;
    }
    observe(back);
}

#define TURNS 2000
static volatile u64 told[2];

static u64 ordered_tsc(void)
{
    u32 a, d;
    asm volatile("lfence; rdtsc; lfence" : "=a"(a), "=d"(d) : : "memory");
    return a | (u64)d << 32;
}

static unsigned take_turns(unsigned me)  /* each tells the other what it read, and counts what is older than it was told */
{
    unsigned back = 0;
    u64 heard = 0;
    for (unsigned n = 0; n < TURNS; n++) {
        if (me || n) {
            u64 now;
            while ((now = told[!me]) == heard)
                pause();
            heard = now;
        }
        u64 mine = ordered_tsc();
        back += mine < heard;
        told[me] = mine;
    }
    return back;
}

static volatile unsigned others_back, finished;

static void partner(unsigned number)
{
    (void)number;
    others_back = take_turns(1);
    raise(&finished);
}

TEST(tsc_two)                            /* values that went back from one processor to the other */
{
    apic_enable(0xff);
    smp_start(partner);
    unsigned back = take_turns(0);
    await(&finished, 1);
    observe(back + others_back);
}

int main(void)
{
    run_test();
    return 0;
}
