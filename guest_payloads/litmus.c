/* What processors see of each other's memory.  Argument 1: how many processors; argument 2: how many rounds.
   Locked instructions are in atomics.c. */
#include "library/pages.h"
#include "library/together.h"

/* ---- two processors */

#define A 0x1111111111111111ull
#define B 0xeeeeeeeeeeeeeeeeull

static volatile u64 cell __attribute__((aligned(64))) = A;
static volatile unsigned done_writing, torn;

static void write_and_read(unsigned number)
{
    if (!number) {
        for (u64 n = 0; n < rounds(); n++)
            cell = n & 1 ? A : B;
        raise(&done_writing);
        return;
    }
    while (!done_writing) {
        u64 seen = cell;
        torn += seen != A && seen != B;
        pause();
    }
}

TEST(qword)                              /* values that nobody wrote */
{
    together(write_and_read);
    observe(torn);
}

static volatile u64 x __attribute__((aligned(64))), y __attribute__((aligned(64)));
static volatile u64 seen[2];
static volatile unsigned turn[2], wrong, arrived;

static void meet(unsigned me, unsigned n)        /* both have come to round n */
{
    turn[me] = n;
    while (turn[!me] < n)
        pause();
}

static void store_then_load(unsigned me)
{
    volatile u64 *mine = me ? &y : &x, *theirs = me ? &x : &y;
    for (u64 n = 1; n <= rounds(); n++) {
        *mine = 0;
        asm volatile("mfence" ::: "memory");
        meet(me, 3 * n);
        *mine = n;
        asm volatile("mfence" ::: "memory");
        seen[me] = *theirs;
        meet(me, 3 * n + 1);
        if (!me)
            wrong += !seen[0] && !seen[1];
        meet(me, 3 * n + 2);
    }
}

TEST(store_buffer)                       /* rounds in which neither saw the other's store */
{
    together(store_then_load);
    observe(wrong);
}

static void locked_then_load(unsigned me)
{
    volatile u64 *mine = me ? &y : &x, *theirs = me ? &x : &y;
    for (u64 n = 1; n <= rounds(); n++) {
        *mine = 0;
        asm volatile("mfence" ::: "memory");
        meet(me, 3 * n);
        asm volatile("lock addq %1, %0" : "+m"(*mine) : "r"(n) : "memory");
        seen[me] = *theirs;
        meet(me, 3 * n + 1);
        if (!me)
            wrong += !seen[0] && !seen[1];
        meet(me, 3 * n + 2);
    }
}

TEST(locked_store)                       /* the same, the stores by LOCK ADD */
{
    together(locked_then_load);
    observe(wrong);
}

static void load_then_store(unsigned me)
{
    volatile u64 *mine = me ? &y : &x, *theirs = me ? &x : &y;
    for (u64 n = 1; n <= rounds(); n++) {
        meet(me, 2 * n);
        seen[me] = *theirs;
        *mine = n;
        meet(me, 2 * n + 1);
        if (!me)
            wrong += seen[0] == n && seen[1] == n;
    }
}

TEST(load_buffer)                        /* rounds in which both saw a store that came after the other's load */
{
    together(load_then_store);
    observe(wrong);
}

static volatile u64 orders[2];           /* of readers 2 and 3: what they saw last of both writers */

static void two_write_two_read(unsigned me)
{
    for (u64 n = 1; n <= rounds(); n++) {
        if (me < 2)
            *(me ? &y : &x) = n;
        else {
            u64 first = me == 2 ? x : y;
            asm volatile("" ::: "memory");
            u64 second = me == 2 ? y : x;
            orders[me - 2] = first == n && second == n - 1;
        }
        raise(&arrived);
        await(&arrived, 4 * (2 * n - 1));
        if (!me)
            wrong += orders[0] && orders[1];
        raise(&arrived);
        await(&arrived, 4 * 2 * n);
    }
}

TEST(independent)                        /* rounds in which two readers saw two stores in opposite orders */
{
    together(two_write_two_read);
    observe(wrong);
}

static void data_then_flag(unsigned me)
{
    if (!me) {
        for (u64 n = 1; n <= rounds(); n++) {
            x = n;
            y = n;
        }
        return;
    }
    for (u64 flag = 0; flag < rounds();) {
        flag = y;
        wrong += x < flag;
        pause();
    }
}

TEST(message_passing)                    /* the flag was seen and older data */
{
    together(data_then_flag);
    observe(wrong);
}

static void one_place(unsigned me)
{
    if (!me) {
        for (u64 n = 1; n <= rounds(); n++)
            y = n;
        return;
    }
    for (u64 first = 0; first < rounds();) {
        first = y;
        wrong += y < first;
        pause();
    }
}

TEST(coherence)                          /* reads of one place that went back */
{
    together(one_place);
    observe(wrong);
}

/* ---- translations of another processor */

#define VECTOR 0x40
#define PLACE 0x8000000000ull            /* outside what is mapped */

static u64 frames[2][512] __attribute__((aligned(4096)));
static volatile unsigned begun, dropped, looks, current;

static void on_drop(struct frame *f)
{
    (void)f;
    invlpg((void *)PLACE);
    raise(&dropped);
    apic_eoi();
}

static void look(unsigned me)
{
    if (!me) {
        u64 *entry = page_entry(PLACE, 1);
        await(&begun, 1);
        for (unsigned n = 1; n <= rounds(); n++) {
            *entry = (u64)frames[n & 1] | PAGE_P | PAGE_W;
            invlpg((void *)PLACE);
            apic_send(1, IPI_FIXED | IPI_ASSERT | VECTOR);
            await(&dropped, n);
            current = n;
            await(&looks, n);
        }
        return;
    }
    wrong += *(volatile u64 *)PLACE != 0;        /* from here on it is in the TLB */
    raise(&begun);
    sti();
    for (unsigned n = 1; n <= rounds(); n++) {
        await(&current, n);
        wrong += *(volatile u64 *)PLACE != (n & 1);
        raise(&looks);
    }
    cli();
}

TEST(shootdown)                          /* reads of a frame that every processor had dropped */
{
    handle(VECTOR, on_drop);
    frames[1][0] = 1;
    page_map(PLACE, (u64)frames[0], PAGE_P | PAGE_W);
    together(look);
    observe(wrong);
}

static void look_halted(unsigned me)     /* the same, and whoever is to drop it halts until the IPI comes */
{
    if (!me) {
        look(0);
        return;
    }
    wrong += *(volatile u64 *)PLACE != 0;
    raise(&begun);
    for (unsigned n = 1; n <= rounds(); n++) {
        while (dropped < n)
            asm volatile("sti; hlt; cli" ::: "memory");
        await(&current, n);
        wrong += *(volatile u64 *)PLACE != (n & 1);
        raise(&looks);
    }
}

TEST(shootdown_halted)
{
    handle(VECTOR, on_drop);
    frames[1][0] = 1;
    page_map(PLACE, (u64)frames[0], PAGE_P | PAGE_W);
    together(look_halted);
    observe(wrong);
}

static void edit_in_turn(unsigned me)    /* each in turn gives the place the other frame; all drop it, and look */
{
    volatile u64 *entry = page_entry(PLACE, 1);
    wrong += *(volatile u64 *)PLACE != 0;
    for (unsigned n = 1; n <= rounds(); n++) {
        raise(&looks);
        await(&looks, processors() * n);
        if (n % processors() == me) {
            *entry = (u64)frames[n & 1] | PAGE_P | PAGE_W;
            current = n;
        }
        await(&current, n);
        invlpg((void *)PLACE);
        if (*(volatile u64 *)PLACE != (n & 1))
            raise(&wrong);
    }
}

TEST(shared_tables)                      /* reads of a frame that is no longer mapped, with one CR3 for all */
{
    frames[1][0] = 1;
    page_map(PLACE, (u64)frames[0], PAGE_P | PAGE_W);
    together(edit_in_turn);
    observe(wrong);
}

/* ---- one frame of page tables for each processor */

static u64 own_pml4[2][512] __attribute__((aligned(4096))), own_tables[2][3][512] __attribute__((aligned(4096)));

static void own_map(unsigned me)
{
    u64 *top = (u64 *)read_cr3();
    for (unsigned n = 0; n < 512; n++)
        own_pml4[me][n] = top[n];
    u64 at = 7;
    own_tables[me][0][0] = (u64)frames[me] | at;
    own_tables[me][1][0] = (u64)own_tables[me][0] | at;
    own_tables[me][2][0] = (u64)own_tables[me][1] | at;
    own_pml4[me][PLACE >> 39] = (u64)own_tables[me][2] | at;
    write_cr3((u64)own_pml4[me]);
    unsigned bad = 0;
    for (u64 n = 0; n < rounds(); n++) {
        bad += *(volatile u64 *)PLACE != me;
        if (n % 16 == 0)
            apic_id();                   /* an exit: the other may run on the same processor of the host */
    }
    __atomic_add_fetch(&wrong, bad, __ATOMIC_RELAXED);
}

TEST(own_tables_each)                    /* reads of the other's page at the same address */
{
    frames[1][0] = 1;
    together(own_map);
    observe(wrong);
}

/* ---- an entry that software and the processor change at the same time */

#define SOFTWARE (7ull << 9)
static u64 *entry;
static volatile unsigned marked, ended;

static void mark(unsigned me)
{
    if (!me) {
        while (!ended) {
            invlpg((void *)PLACE);
            *(volatile u64 *)PLACE = 1;
        }
        return;
    }
    u64 mine = 0;
    for (u64 n = 0; n < rounds(); n++) {
        u64 old = __atomic_fetch_xor(entry, SOFTWARE, __ATOMIC_SEQ_CST);
        wrong += (old & SOFTWARE) != mine;
        mine = ~old & SOFTWARE;
        old = __atomic_fetch_and(entry, ~(u64)(PAGE_A | PAGE_D), __ATOMIC_SEQ_CST);
        marked += (old & PAGE_D) != 0;
        if (n % 16 == 0)
            apic_id();                   /* an exit: the other may run on the same processor of the host */
    }
    ended = 1;
}

TEST(marks)                              /* changes of software that were lost; has the processor changed anything? */
{
    page_map(PLACE, (u64)frames[0], PAGE_P | PAGE_W);
    entry = page_entry(PLACE, 1);
    together(mark);
    observe(wrong);
    observe(marked != 0);
}

/* ---- code that another processor changes */

static void modify(unsigned me)
{
    for (unsigned n = 1; n <= rounds(); n++)
        if (!me) {
            *(volatile u32 *)((u8 *)frames[0] + 1) = n;
            raise(&current);
            await(&looks, n);
        } else {
            await(&current, n);
            cpuid(0, 0);                 /* serializes */
            wrong += ((u32 (*)(void))frames[0])() != n;
            raise(&looks);
        }
}

TEST(cross_modify)                       /* calls that ran old code */
{
    frames[0][0] = 0xC300000000B8;       /* mov $0, %eax; ret */
    together(modify);
    observe(wrong);
}

/* ---- identity, and exits at the same time */

static volatile u32 ids[16];

static void note_id(unsigned me)
{
    (void)me;
    u32 id = apic_id();
    bool agree = id == cpuid(1, 0).ebx >> 24;
    ids[id & 15] += agree;
}

TEST(apic_ids)                           /* how many have each id, as the APIC and CPUID name it */
{
    together(note_id);
    for (unsigned n = 0; n < processors(); n++)
        observe(ids[n]);
}

#define PORT 0x1000                      /* reads bring what this processor wrote there last */
#define DEVICE 0xd0000000ull

static void talk_port(unsigned me)
{
    unsigned bad = 0;
    for (u64 n = 1; n <= rounds(); n++) {
        u32 value = me << 24 | n;
        out32(PORT + 4 * me, value);
        bad += in32(PORT + 4 * me) != value;
    }
    __atomic_add_fetch(&wrong, bad, __ATOMIC_RELAXED);
}

static void talk_memory(unsigned me)
{
    volatile u64 *at = (u64 *)(DEVICE + 8 * me);
    unsigned bad = 0;
    for (u64 n = 1; n <= rounds(); n++) {
        u64 value = (u64)me << 56 | n;
        *at = value;
        bad += *at != value;
    }
    __atomic_add_fetch(&wrong, bad, __ATOMIC_RELAXED);
}

TEST(ports)
{
    together(talk_port);
    observe(wrong);
}

TEST(device)
{
    together(talk_memory);
    observe(wrong);
}

/* ---- the host takes memory away */

#define TAKEN 0x30000000ull
static volatile unsigned gone, stale;

static void read_taken(unsigned me)
{
    volatile u64 *at = (u64 *)TAKEN;
    if (!me) {
        host(0);                         /* the slot is deleted; reads bring ones from now on */
        raise(&gone);
        stale += *at != ~0ull;
        for (unsigned n = 0; n < 200; n++)
            host(0xff);
        raise(&done_writing);
        return;
    }
    while (!done_writing) {
        unsigned before = gone;
        u64 found = *at;
        if (before && found != ~0ull)
            raise(&stale);
        pause();
    }
}

TEST(deleted)                            /* reads of memory behind the end of its slot */
{
    volatile u64 *at = (u64 *)TAKEN;
    *at = 5;
    together(read_taken);
    observe(stale);
}

int main(void)
{
    run_test();
    return 0;
}
