/* A driver of virtio-blk: a request is three descriptors, header, data and status. */
#include "served.h"
#include "virtio.h"

enum { IN, OUT, FLUSH = 4 };
enum { SLOTS = 64, LARGEST = 8192 };
#define BLK_SIZE (1u << 6)
#define HAS_FLUSH (1u << 9)

struct header { u32 type, reserved; u64 sector; };

static struct memory {                   /* shared with the disk */
    struct queue queue;
    struct header headers[SLOTS];
    u8 status[SLOTS];
    u8 data[SLOTS][LARGEST] __attribute__((aligned(4096)));
} *const memory = (struct memory *)0x200000;

static void start(bool messages)
{
    find(0x1001, 0x1042);
    negotiate(BLK_SIZE | HAS_FLUSH);
    if (messages)
        take_messages(0, 0x50);
    set_up(&memory->queue, 0);
    memory->queue.available.flags = !messages;
    go();
}

/* Request in `slot`, not rung for, with data in `place`; `size` 0: no data. */
static void request_at(unsigned slot, u32 type, u64 sector, unsigned size, void *place)
{
    unsigned at = 3 * slot;
    memory->headers[slot] = (struct header){type, 0, sector};
    memory->status[slot] = 0xff;
    describe(&memory->queue, at, &memory->headers[slot], sizeof(struct header), DESC_NEXT);
    describe(&memory->queue, at + 1, place, size, DESC_NEXT | (type == IN ? DESC_WRITE : 0));
    describe(&memory->queue, at + 2, &memory->status[slot], 1, DESC_WRITE);
    if (!size)
        memory->queue.descriptors[at].next = at + 2;
    offer(&memory->queue, at);
}

static void request(unsigned slot, u32 type, u64 sector, unsigned size)
{
    request_at(slot, type, sector, size, memory->data[slot]);
}

/* Wait for as many as were offered; how many ended well. */
static unsigned finish(void)
{
    unsigned good = 0;
    while (memory->queue.taken != memory->queue.filled) {
        u32 length;
        if (came(&memory->queue))
            good += memory->status[take(&memory->queue, &length) / 3 % SLOTS] == 0;
        else
            pause();
    }
    return good;
}

static u64 pattern(u64 sector, unsigned at) { return sector * 0x0101010101010101 ^ at; }

TEST(capacity)                           /* in sectors, and their size */
{
    start(false);
    observe(*(volatile u32 *)config | (u64)*(volatile u32 *)(config + 4) << 32);
    observe(*(volatile u32 *)(config + 20));
}

TEST(written)                            /* argument 1: sectors, 2: how many requests at a time; written, flushed, read */
{
    unsigned good = 0, same = 0;
    start(false);
    bells = 0;
    for (u64 done = 0; done < arguments[1]; done += arguments[2]) {
        for (unsigned n = 0; n < arguments[2]; n++) {
            for (unsigned at = 0; at < SECTOR; at += 64)
                *(u64 *)(memory->data[n] + at) = pattern(done + n, at);
            request(n, OUT, done + n, SECTOR);
        }
        ring(&memory->queue);
        good += finish();
    }
    request(0, FLUSH, 0, 0);
    ring(&memory->queue);
    good += finish();
    for (u64 done = 0; done < arguments[1]; done += arguments[2]) {
        for (unsigned n = 0; n < arguments[2]; n++) {
            memset(memory->data[n], 0, SECTOR);
            request(n, IN, done + n, SECTOR);
        }
        ring(&memory->queue);
        good += finish();
        for (unsigned n = 0; n < arguments[2]; n++) {
            bool right = true;
            for (unsigned at = 0; at < SECTOR; at += 64)
                right &= *(u64 *)(memory->data[n] + at) == pattern(done + n, at);
            same += right;
        }
    }
    observe(good);
    observe(same);
    observe(bells);
}

TEST(by_interrupt)                       /* argument 1: sectors; one at a time, halted until it is there */
{
    unsigned good = 0;
    u64 sum = 0;
    start(true);
    for (u64 n = 0; n < arguments[1]; n++) {
        unsigned before = interrupts;
        request(0, IN, n, SECTOR);
        ring(&memory->queue);
        await_interrupt(before);
        good += finish();
        sum += memory->data[0][0];
    }
    observe(good);
    observe(sum);
    observe(interrupts);
}

TEST(transfer)                           /* argument 1: rounds, 2: requests at a time, 3: bytes of one; reads from the start */
{
    unsigned good = 0;
    start(false);
    for (u64 round = 0; round < arguments[1]; round++) {
        for (unsigned n = 0; n < arguments[2]; n++)
            request(n, IN, n * (arguments[3] / SECTOR), arguments[3]);
        ring(&memory->queue);
        good += finish();
    }
    observe(good);
    observe(bells);
}

static void serve_begin(void) { start(true); }

static void serve_queue(unsigned n, u32 sector, u32 bytes, u8 *at) { request_at(n, IN, sector, bytes, at); }

static unsigned serve_finish(unsigned count)
{
    ring(&memory->queue);
    while (memory->queue.used.index != memory->queue.filled) {
        sti_hlt();
        cli();
    }
    (void)count;
    return finish();
}

int main(void)
{
    run_test();
    return 0;
}
