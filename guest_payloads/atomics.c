/* Locked instructions: each is one step for everybody.  Argument 1: how many processors; argument 2: how many rounds. */
#include "library/together.h"

static volatile u64 counter;

static void add_locked(unsigned number)
{
    (void)number;
    for (u64 n = 0; n < rounds(); n++)
        asm volatile("lock incq %0" : "+m"(counter));
}

TEST(lock_inc)                           /* what the counter holds */
{
    together(add_locked);
    observe(counter);
}

static volatile u32 lock;

static void add_inside(unsigned number)
{
    (void)number;
    for (u64 n = 0; n < rounds(); n++) {
        u32 was = 1;
        for (;;) {
            asm volatile("xchg %0, %1" : "+r"(was), "+m"(lock) : : "memory");
            if (!was)
                break;
            pause();
        }
        counter = counter + 1;
        asm volatile("" ::: "memory");
        lock = 0;
    }
}

TEST(xchg_lock)
{
    together(add_inside);
    observe(counter);
}

static void add_by_compare(unsigned number)
{
    (void)number;
    for (u64 n = 0; n < rounds(); n++) {
        bool done;
        do {
            u64 old = counter;
            asm volatile("lock cmpxchg %3, %0" : "+m"(counter), "+a"(old), "=@ccz"(done) : "r"(old + 1) : "memory");
        } while (!done);
    }
}

TEST(cmpxchg)
{
    together(add_by_compare);
    observe(counter);
}

static void add_unlocked(unsigned number)
{
    (void)number;
    for (u64 n = 0; n < rounds(); n++)
        asm volatile("incq %0" : "+m"(counter));
}

TEST(inc)                                /* is the sum more than what was added; is it less than what one adds at the least */
{
    together(add_unlocked);
    observe(counter > processors() * rounds());
    observe(counter < 2);
}

static struct { u64 low, high; } pair __attribute__((aligned(16)));
static volatile unsigned torn;

static void add_pair(unsigned number)    /* the upper half is the complement of the lower */
{
    (void)number;
    for (u64 n = 0; n < rounds(); n++) {
        bool done;
        do {
            u64 low = pair.low, high = ~low;
            asm volatile("lock cmpxchg16b %0"
                         : "+m"(pair), "+a"(low), "+d"(high), "=@ccz"(done) : "b"(low + 1), "c"(~(low + 1)) : "memory");
            if (!done && high != ~low)   /* what it found */
                raise(&torn);
        } while (!done);
    }
}

TEST(cmpxchg16b)                         /* the lower half, the complement of the upper; pairs that nobody wrote */
{
    pair.high = ~0ull;
    together(add_pair);
    observe(pair.low);
    observe(~pair.high);
    observe(torn);
}

#define TICKETS 8192
static volatile u8 given[TICKETS];

static void take_tickets(unsigned number)
{
    (void)number;
    for (u64 n = 0; n < rounds(); n++) {
        u64 ticket = 1;
        asm volatile("lock xaddq %0, %1" : "+r"(ticket), "+m"(counter) : : "memory");
        if (ticket < TICKETS)
            __atomic_add_fetch(&given[ticket], 1, __ATOMIC_RELAXED);
    }
}

TEST(xadd)                               /* how many tickets were given; how many of them once */
{
    together(take_tickets);
    unsigned once = 0;
    for (unsigned n = 0; n < TICKETS; n++)
        once += given[n] == 1;
    observe(counter);
    observe(once);
}

static volatile u32 bits[TICKETS / 32];
static volatile u64 set;

static void set_bits(unsigned number)    /* all set every bit; one of them each time is the first */
{
    (void)number;
    u64 mine = 0;
    for (u64 n = 0; n < rounds(); n++) {
        bool was;
        asm volatile("lock btsl %2, %1" : "=@ccc"(was), "+m"(bits[n / 32]) : "r"((u32)(n % 32)) : "memory");
        mine += !was;
    }
    __atomic_add_fetch(&set, mine, __ATOMIC_RELAXED);
}

TEST(bts)                                /* how often a bit was found clear */
{
    together(set_bits);
    observe(set);
}

static u8 lines[128] __attribute__((aligned(64)));

static void add_across(unsigned number)
{
    (void)number;
    for (u64 n = 0; n < rounds(); n++)
        asm volatile("lock incl %0" : "+m"(*(u32 *)(lines + 62)) : : "memory");
}

TEST(split)                              /* what a counter of 4 bytes holds that lies in two cache lines; the bytes beside it */
{
    together(add_across);
    observe(*(u32 *)(lines + 62));
    observe(lines[61] | lines[66]);
}

int main(void)
{
    run_test();
    return 0;
}
