/* The timer of the local APIC, the time stamp counter: what comes and in what order.  No test says how long anything
   takes; rates are compared within wide bounds. */
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

TEST(unmasked_late)                      /* unmasked when it has run out: the count, did an interrupt come in any round */
{
    start();
    for (unsigned round = 0; round < 4; round++) {   /* a host that notices only after all this shows nothing */
        apic_timer(VECTOR, TIMER_ONE_SHOT | LVT_MASKED, 1000);
        while (apic_read(APIC_TIMER_CURRENT))
            pause();
        linger();                        /* the host may notice later than the count tells */
        apic_write(APIC_LVT_TIMER, TIMER_ONE_SHOT | VECTOR);
        linger();
    }
    observe(apic_read(APIC_TIMER_CURRENT));
    observe(count > 0);
}

TEST(to_periodic)                        /* one-shot that becomes periodic while it runs: does it come three times more */
{
    start();
    u32 period = PERIOD;
    do {                                 /* on a slow host it may have run out before: then a longer one */
        period *= 2;
        apic_timer(VECTOR, TIMER_ONE_SHOT, period);
        apic_write(APIC_LVT_TIMER, TIMER_PERIODIC | VECTOR);
    } while (!apic_read(APIC_TIMER_CURRENT));
    window();
    for (unsigned end = count + 3; count < end;)
        window();
    observe(1);
}

TEST(to_one_shot)                        /* periodic that becomes one-shot: the count in the end, does it come again */
{
    start();
    apic_timer(VECTOR, TIMER_PERIODIC, PERIOD);
    while (!count)
        window();
    apic_write(APIC_LVT_TIMER, TIMER_ONE_SHOT | VECTOR);
    while (apic_read(APIC_TIMER_CURRENT))
        window();
    linger();                            /* the last interrupt may come a little later */
    unsigned then = count;
    linger();
    observe(apic_read(APIC_TIMER_CURRENT));
    observe(count - then);
}

TEST(from_deadline)                      /* a change to one-shot: the MSR, the count, interrupts */
{
    start();
    arm(1ull << 62);
    apic_write(APIC_LVT_TIMER, TIMER_ONE_SHOT | VECTOR);
    observe(rdmsr(TSC_DEADLINE));
    observe(apic_read(APIC_TIMER_CURRENT));
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | VECTOR);
    observe(rdmsr(TSC_DEADLINE));        /* it was not only hidden */
    linger();
    observe(count);
}

TEST(deadline_elsewhere)                 /* the MSR in one-shot mode; interrupts */
{
    start();
    apic_write(APIC_LVT_TIMER, TIMER_ONE_SHOT | VECTOR);
    wrmsr(TSC_DEADLINE, 1);
    observe(rdmsr(TSC_DEADLINE));
    linger();
    observe(count);
}

#define MEASURED 2000000u                /* TSC cycles: about a millisecond */
#define TRIES 8

static u32 counted(u32 divide)           /* steps in MEASURED cycles, the least of some tries: between the looks a host may do other things */
{
    u32 least = ~0u;
    for (unsigned n = 0; n < TRIES; n++) {
        apic_write(APIC_TIMER_DIVIDE, divide);
        apic_write(APIC_TIMER_INITIAL, LONG);
        u32 from = apic_read(APIC_TIMER_CURRENT);
        for (u64 end = rdtsc() + MEASURED; rdtsc() < end;)
            ;
        u32 steps = from - apic_read(APIC_TIMER_CURRENT);
        least = steps < least ? steps : least;
    }
    return least;
}

TEST(divides)                            /* divide by 1, 2, 4 ... 128: each counts less than 3/4 and more than 1/3 of the one before */
{
    static const u8 by[] = {0xb, 0, 1, 2, 3, 8, 9, 0xa};
    start();
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    u32 before = 0;
    for (unsigned n = 0; n < sizeof by; n++) {
        u64 now = counted(by[n]);
        if (n)
            observe(now * 4 < before * 3ull && now * 3 > before);
        before = now;
    }
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

/* Acts 1 and 2 look at the host's clock, act 3 sleeps in between: what a counter did meanwhile. */
TEST(tsc_rate)
{
    host(1);
    u64 from = rdtsc();
    host(3);
    u64 to = rdtsc();
    host(2);
    observe(to - from);
}

TEST(apic_rate)
{
    start();
    apic_timer(VECTOR, TIMER_ONE_SHOT | LVT_MASKED, LONG);
    host(1);
    u32 from = apic_read(APIC_TIMER_CURRENT);
    host(3);
    u32 to = apic_read(APIC_TIMER_CURRENT);
    host(2);
    observe(from - to);
}

TEST(tsc_moved)                          /* act 0 moves it by 2**40: by how many times 2**39 */
{
    u64 from = rdtsc();
    host(0);
    observe((rdtsc() - from) >> 39);
}

#define TURNS 500                         /* each may take a slice of the host where both vCPUs share a processor */
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
