/* What the drivers of SCSI controllers test, whichever it is: the disk is LUN 0 of target 0 and is written all over.
   A driver defines what is declared here without a body, and each test says what it observes. */
#pragma once

#include "../library/pci.h"
#include "../library/pic.h"
#include "../library/string.h"
#include "../library/tests.h"
#include "served.h"

#define DEPTH 16                         /* requests at once */
#define PIECES 4
#define LOOKS 1000000
#define ISA_BRIDGE ((pci_function)(1 << 3))
#define IRQ 11
#define VECTOR (0x20 + IRQ)
#define ABSENT 6                         /* a target that nobody has */

struct piece { void *at; u32 length; };
struct request {
    u8 target, cdb[16], cdb_length;
    bool write;
    struct piece pieces[PIECES];
    u32 count;
};
struct result { u32 controller, status; bool done; };   /* what the controller says, and the target */

static struct result results[DEPTH];
static unsigned finished;                /* since the start */
static u8 sense[32] __attribute__((aligned(32)));
static u8 buffers[DEPTH][4096] __attribute__((aligned(4096))), large[0x10000] __attribute__((aligned(4096)));

static void start(void);
static void queue(unsigned n, const struct request *request);    /* as request n; `post` shows it to the controller */
static void post(void);
static void reap(void);                  /* take what is completed: `results` and `finished` */
static void irq_on(void);
static bool irq_cause(void);             /* was it the controller?  Then it is no more */
static bool use_messages(void);          /* before `start`: interrupts will be messages of VECTOR; false: it cannot */

static void end(unsigned n, u32 controller, u32 status)
{
    results[n] = (struct result){controller, status, true};
    finished++;
}

static bool wait(unsigned count)
{
    for (unsigned n = 0; n < LOOKS && finished < count; n++) {
        reap();
        pause();
    }
    return finished >= count;
}

static void big_endian(u8 *at, u32 value, unsigned bytes)
{
    while (bytes--)
        *at++ = value >> 8 * bytes;
}

static u32 from_big_endian(const u8 *at) { return (u32)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }

static struct request transfer(bool write, u32 sector, u16 count, void *at)
{
    struct request r = {.cdb = {write ? 0x2a : 0x28}, .cdb_length = 10, .write = write, .count = 1};
    big_endian(r.cdb + 2, sector, 4);
    big_endian(r.cdb + 7, count, 2);
    r.pieces[0] = (struct piece){at, count * SECTOR};
    return r;
}

static struct result one(struct request request)
{
    results[0].done = false;
    unsigned before = finished;
    queue(0, &request);
    post();
    wait(before + 1);
    return results[0].done ? results[0] : (struct result){~0u, ~0u, false};
}

static bool good(struct result of) { return of.done && !of.controller && !of.status; }

/* What is written, by whole words: where code is interpreted each instruction costs. */
static u64 word(u8 seed, u32 n) { return ((u64)seed << 32 | (n + 1)) * 0x9e3779b97f4a7c15; }

static void fill(u8 *at, u32 length, u8 seed)
{
    for (u32 n = 0; n < length / 8; n++)
        ((u64 *)at)[n] = word(seed, n);
}

static bool holds(const u8 *at, u32 length, u8 seed)
{
    for (u32 n = 0; n < length / 8; n++)
        if (((const volatile u64 *)at)[n] != word(seed, n))
            return false;
    return true;
}

TEST(capacity)                           /* is the unit ready; the type of device; last block, size of a block */
{
    struct request ready = {.cdb_length = 6};
    struct request inquiry = {.cdb = {0x12, [4] = 36}, .cdb_length = 6, .pieces = {{buffers[0], 36}}, .count = 1};
    struct request size = {.cdb = {0x25}, .cdb_length = 10, .pieces = {{buffers[0], 8}}, .count = 1};
    start();
    for (unsigned n = 0; n < 3 && !good(one(ready)); n++)    /* a unit attention is no fault */
        ;
    observe(good(one(ready)));
    observe(good(one(inquiry)) ? buffers[0][0] : ~0ull);
    observe(good(one(size)) ? from_big_endian(buffers[0]) : ~0ull);
    observe(from_big_endian(buffers[0] + 4));
}

static u32 place(unsigned n) { return n * 199 % 8000; }
static u16 sectors(unsigned n) { return 1 + n % 8; }

static void settle(void)                 /* whatever the target wants to tell first */
{
    struct request ready = {.cdb_length = 6};
    for (unsigned n = 0; n < 3 && !good(one(ready)); n++)
        ;
}

TEST(polled)                             /* of 40 writes, each read back: how many were right */
{
    unsigned right = 0;
    start();
    settle();
    for (unsigned n = 0; n < 40; n++) {
        fill(large, sectors(n) * SECTOR, n);
        if (!good(one(transfer(true, place(n), sectors(n), large))))
            break;
        memset(large, 0, sizeof large);
        right += good(one(transfer(false, place(n), sectors(n), large))) && holds(large, sectors(n) * SECTOR, n);
    }
    observe(right);
}

static bool all(bool write, unsigned round)
{
    unsigned before = finished;
    for (unsigned n = 0; n < DEPTH; n++) {
        struct request r = transfer(write, 8 * (round * DEPTH + n), 8, buffers[n]);
        results[n].done = false;
        queue(n, &r);
    }
    post();
    bool right = wait(before + DEPTH);
    for (unsigned n = 0; n < DEPTH; n++)
        right = right && good(results[n]);
    return right;
}

TEST(batches)                            /* of 64 writes and reads, 16 with each doorbell: how many were right */
{
    unsigned right = 0;
    start();
    settle();
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned n = 0; n < DEPTH; n++)
            fill(buffers[n], 4096, round * DEPTH + n);
        if (!all(true, round))
            break;
        memset(buffers, 0, sizeof buffers);
        if (!all(false, round))
            break;
        for (unsigned n = 0; n < DEPTH; n++)
            right += holds(buffers[n], 4096, round * DEPTH + n);
    }
    observe(right);
}

static struct request pieces(bool write)
{
    struct request r = transfer(write, 100, 8, large);
    static const u32 lengths[PIECES] = {512, 1000, 24, 2560};
    u8 *at = large;
    for (unsigned n = 0; n < PIECES; n++) {
        r.pieces[n] = (struct piece){at, lengths[n]};
        at += 0x1000;
    }
    r.count = PIECES;
    return r;
}

TEST(scattered)                          /* eight sectors from four pieces, and into them: were they right */
{
    bool right = true;
    u32 seen = 0;
    start();
    settle();
    fill(buffers[0], 4096, 7);
    struct request r = pieces(true);
    for (unsigned n = 0; n < PIECES; seen += r.pieces[n++].length)
        memcpy(r.pieces[n].at, buffers[0] + seen, r.pieces[n].length);
    right = good(one(r));
    memset(buffers[0], 0, 4096);
    right = right && good(one(transfer(false, 100, 8, buffers[0])));
    observe(right && holds(buffers[0], 4096, 7));
    memset(large, 0, sizeof large);
    r = pieces(false);
    right = good(one(r));
    seen = 0;
    for (unsigned n = 0; n < PIECES; seen += r.pieces[n++].length)
        right = right && !memcmp(r.pieces[n].at, buffers[0] + seen, r.pieces[n].length);
    observe(right);
    observe(large[512] | large[0x1000 + 1000] | large[0x2000 + 24]);     /* behind the pieces: nothing */
}

TEST(errors)                             /* a block beyond the end: status, sense key and code; nobody there: is it told */
{
    start();
    settle();
    memset(sense, 0, sizeof sense);
    struct result bad = one(transfer(false, 0x7ffffff0, 1, large));
    observe(bad.status);
    observe(sense[2] & 0xf);
    observe(sense[12]);
    struct request absent = {.cdb_length = 6, .target = ABSENT};
    struct result nobody = one(absent);
    observe(nobody.done && nobody.controller);
    observe(good(one(transfer(false, 0, 1, large))));
}

static volatile unsigned caused;         /* interrupts that were the controller's */

static void end_of_line(void)
{
    out8(0xa0, 0x20);
    out8(0x20, 0x20);
}

static void by_line(struct frame *frame)
{
    (void)frame;
    caused += irq_cause();
    reap();
    end_of_line();
}

/* INTx of the controller comes as VECTOR, by the 8259s. */
static void use_line(void (*handler)(struct frame *))
{
    apic_enable(0xef);
    pic_open(0x20, 1 << IRQ, 1 << IRQ);
    pci_write32(ISA_BRIDGE, 0x60, IRQ * 0x01010101u);
    handle(VECTOR, handler);
}

TEST(interrupt_driven)                   /* of 20 reads: how many were right; interrupts; those without a cause */
{
    unsigned right = 0;
    use_line(by_line);
    start();
    settle();
    fill(large, sizeof large, 3);
    right = good(one(transfer(true, 0, 128, large)));
    irq_cause();
    irq_on();
    caused = 0;
    for (unsigned n = 0; n < 20; n++) {
        struct request r = transfer(false, 8 * n % 128, 8, buffers[0]);
        unsigned before = finished;
        memset(buffers[0], 0, 4096);
        queue(0, &r);
        post();
        for (unsigned look = 0; look < LOOKS / 10 && finished == before; look++)
            window();
        right += finished == before + 1 && good(results[0]) && !memcmp(buffers[0], large + 4096 * (n % 16), 4096);
    }
    unsigned told = caused;
    for (unsigned n = 0; n < 4; n++)
        window();
    observe(right);
    observe(told);
    observe(caused - told);
}

TEST(reads)                              /* argument 1: how many; 2: sectors of each; 3: at once; how many went well */
{
    unsigned right = 0;
    start();
    settle();
    for (unsigned n = 0; n < arguments[1]; n += arguments[3]) {
        unsigned before = finished;
        for (unsigned i = 0; i < arguments[3]; i++) {
            struct request r = transfer(false, 0, arguments[2], large);
            queue(i, &r);
        }
        post();
        wait(before + arguments[3]);
        for (unsigned i = 0; i < arguments[3]; i++)
            right += good(results[i]);
    }
    observe(right);
}

static void reaped_by_line(struct frame *frame)      /* what needs no look at the cause: the line is the controller's own */
{
    (void)frame;
    reap();
    end_of_line();
}

static void reaped_by_message(struct frame *frame)
{
    (void)frame;
    reap();
    apic_eoi();
}

static void serve_begin(void)
{
    bool messages = use_messages();
    if (!messages)
        use_line(reaped_by_line);
    start();
    settle();
    if (messages) {
        apic_enable(0xef);
        handle(VECTOR, reaped_by_message);
    }
    irq_on();
}

static void serve_queue(unsigned n, u32 sector, u32 bytes, u8 *at)
{
    struct request r = transfer(false, sector, bytes / SECTOR, at);
    results[n].done = false;
    queue(n, &r);
}

static unsigned serve_finish(unsigned count)
{
    unsigned right = 0, before = finished;
    post();
    while (finished < before + count) {
        sti_hlt();
        cli();
    }
    for (unsigned n = 0; n < count; n++)
        right += good(results[n]);
    return right;
}

static inline u32 place_bar(pci_function at, u8 bar, u32 otherwise)     /* where it is, or shall be */
{
    u32 now = pci_read32(at, bar);
    u32 mask = now & 1 ? ~3u : ~15u;
    if (!(now & mask))
        pci_write32(at, bar, otherwise);
    return pci_read32(at, bar) & mask;
}

int main(void)
{
    run_test();
    return 0;
}
