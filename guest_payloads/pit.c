/* The 8254: channel 0 behind line 0 of the 8259, channel 2 behind a gate of port 61H.  What comes and in what order; rates
   are compared within wide bounds. */
#include "library/tests.h"


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

static volatile unsigned count;

static void on_line_0(struct frame *f)
{
    (void)f;
    count++;
    out8(0x20, 0x20);
}

static void start(void)                  /* line 0 interrupts with vector 20H */
{
    apic_enable(0xff);
    apic_write(APIC_LVT_LINT0, 0x700);
    out8(0x20, 0x11), out8(0x21, 0x20), out8(0x21, 4), out8(0x21, 1), out8(0x21, 0xfe);
    handle(0x20, on_line_0);
}

TEST(pit_periodic)                       /* the mode of argument 1, 2 or 3: does it come a fifth time */
{
    start();
    pit(0, arguments[1], 2000);
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

TEST(pit_once)                           /* mode 0: how often it has come after several times its count */
{
    start();
    out8(GATES, in8(GATES) | 1);
    pit(2, 2, 0);
    pit(0, 0, 2000);
    while (!count)
        window();
    pass(10000);
    window();
    observe(count);
}

static unsigned rate(unsigned mode)      /* interrupts in 30000 ticks of channel 2 */
{
    pit(0, mode, 2000);
    sti();
    count = 0;
    pass(30000);
    cli();
    return count;
}

TEST(pit_square)                         /* mode 3 comes as often as mode 2, within a factor of 1.5, in one of ten tries */
{
    start();
    out8(GATES, in8(GATES) | 1);
    pit(2, 2, 0);
    bool same = false;
    for (unsigned try = 0; try < 10 && !same; try++) {   /* a host that is away for a while loses some */
        unsigned second = rate(2), third = rate(3);
        same = second && third * 3 > second * 2 && second * 3 > third * 2;
    }
    observe(same);
}

TEST(pit_status)                         /* read-back of channel 2's status: access and mode of modes 0, 3; OUT before and after the count */
{
    out8(GATES, in8(GATES) & ~1);
    pit(2, 3, 1000);
    out8(CONTROL, 0xe8);
    observe(in8(0x42) & 0x3f);
    pit(2, 0, 2000);
    out8(CONTROL, 0xe8);
    observe(in8(0x42) & 0xbf);
    out8(GATES, in8(GATES) | 1);
    while (!(in8(GATES) & 0x20))
        ;
    out8(CONTROL, 0xe8);
    observe(in8(0x42) & 0xff);
}

TEST(pit_full)                           /* a count of 0 is 65536: is it high at first, in one of ten tries; does it come */
{
    start();
    bool high = false;
    for (unsigned try = 0; try < 10 && !high; try++) {   /* a host may be away for a while */
        pit(0, 2, 0);
        high = pit_now(0) > 0x8000;
    }
    count = 0;
    while (!count)
        window();
    observe(high);
    observe(count);
}

TEST(pit_refresh)                        /* bit 4 of port 61H toggles: does it become 1, and 0, again and again */
{
    unsigned turns = 0;
    u8 last = in8(GATES) & 0x10;
    while (turns < 10) {
        u8 now = in8(GATES) & 0x10;
        turns += now != last;
        last = now;
    }
    observe(turns);
}

#define STRETCH 6000                     /* ticks of channel 2: 5 ms */

TEST(pit_rate)                           /* ten times: ticks, the TSC cycles that they took at the least, and at the most */
{
    out8(GATES, in8(GATES) | 1);
    pit(2, 2, 0);
    for (unsigned n = 0; n < 10; n++) {
        u64 before = rdtsc();
        u16 from = pit_now(2), to;
        u64 behind = rdtsc(), last;
        do {
            last = rdtsc();
            to = pit_now(2);
        } while ((u16)(from - to) < STRETCH);
        observe((u16)(from - to));
        observe(last - behind);
        observe(rdtsc() - before);
    }
}

int main(void)
{
    run_test();
    return 0;
}
