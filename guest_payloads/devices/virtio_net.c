/* A driver of virtio-net: one queue each way, one descriptor for header and frame. */
#include "virtio.h"

enum { RECEIVE, TRANSMIT };
enum { HEADER = 12, BUFFER = 2048 };
#define PATTERN 64                       /* bytes of a frame that tell it from others: where code is interpreted each costs */
#define MAC (1u << 5)

static struct memory {                   /* shared with the adapter */
    struct queue rx, tx;
    u8 outgoing[ENTRIES][BUFFER];
    u8 incoming[ENTRIES][BUFFER];
} *const memory = (struct memory *)0x200000;

static u8 mac[6];
static const u8 peer[6] = {2, 0, 0, 0, 0, 1};

static void start(bool messages)
{
    find(0x1000, 0x1041);
    negotiate(MAC);
    for (unsigned n = 0; n < 6; n++)
        mac[n] = config[n];
    if (messages)
        take_messages(RECEIVE, 0x50);
    set_up(&memory->rx, RECEIVE);
    set_up(&memory->tx, TRANSMIT);
    for (unsigned n = 0; n < ENTRIES; n++) {
        describe(&memory->rx, n, memory->incoming[n], BUFFER, DESC_WRITE);
        memset(memory->outgoing[n], 0, HEADER);
    }
    memory->tx.available.flags = 1;      /* no interrupts: what was sent is looked at when more is to be sent */
    memory->rx.available.flags = !messages;
    go();
}

static void fill(unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        offer(&memory->rx, memory->rx.filled % ENTRIES);
    ring(&memory->rx);
}

/* Frame `number` of `size` bytes to ourselves, not rung for. */
static void queue_frame(u32 number, unsigned size)
{
    u16 at = memory->tx.filled % ENTRIES;
    u8 *frame = memory->outgoing[at] + HEADER;
    memcpy(frame, mac, 6);
    memcpy(frame + 6, peer, 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;
    memcpy(frame + 14, &number, 4);
    for (unsigned n = 18; n < size && n < PATTERN; n++)
        frame[n] = number + n;
    describe(&memory->tx, at, memory->outgoing[at], HEADER + size, 0);
    offer(&memory->tx, at);
}

static bool right(u32 number, unsigned wanted)   /* the next frame that came */
{
    u32 length, found;
    const u8 *frame = memory->incoming[take(&memory->rx, &length) % ENTRIES] + HEADER;
    memcpy(&found, frame + 14, 4);
    bool same = length == HEADER + wanted && found == number && !memcmp(frame, mac, 6) && frame[-2] == 1;
    for (unsigned n = 18; n < wanted && n < PATTERN; n++)
        same &= frame[n] == (u8)(number + n);
    return same;
}

TEST(structures)                         /* a bit for each type of structure; class code */
{
    find(0x1000, 0x1041);
    observe(found_structures);
    observe(pci_read32(function, 8) >> 8);
}

TEST(polled)                             /* argument 1: packets, 2: how many at a time, 3: bytes of one, to itself */
{
    unsigned good = 0;
    start(false);
    fill(ENTRIES / 2);
    bells = 0;
    host(0);
    for (u32 done = 0; done < arguments[1]; done += arguments[2]) {
        for (unsigned n = 0; n < arguments[2]; n++)
            queue_frame(done + n, arguments[3]);
        ring(&memory->tx);
        for (unsigned n = 0; n < arguments[2];) {
            if (came(&memory->rx))
                good += right(done + n++, arguments[3]);
            else
                pause();
        }
        memory->tx.taken = memory->tx.used.index;
        fill(arguments[2]);
    }
    host(1);
    observe(good);
    observe(bells);
}

/* Argument 1: packets, 2: buffers given back at a time, 3: bytes of one, to itself; halted while nothing comes. */
TEST(by_interrupt)
{
    unsigned good = 0;
    start(true);
    fill(ENTRIES / 2);
    host(0);
    for (u32 n = 0; n < arguments[1]; n++) {
        unsigned before = interrupts;
        queue_frame(n, arguments[3]);
        ring(&memory->tx);
        await_interrupt(before);
        if (came(&memory->rx))
            good += right(n, arguments[3]);
        if (n % arguments[2] == arguments[2] - 1)
            fill(arguments[2]);
    }
    host(1);
    observe(good);
    observe(interrupts);
}

TEST(wrap)                               /* argument 1: frames, 2: how many at a time, 3: bytes of one; all are the same */
{
    start(false);
    queue_frame(0, arguments[3]);
    for (unsigned n = 0; n < ENTRIES; n++) {
        memory->tx.descriptors[n] = memory->tx.descriptors[0];
        memory->tx.available.ring[n] = n;
    }
    memory->tx.filled = 0;
    u64 used = 0;
    for (u64 done = 0; done < arguments[1]; done += arguments[2]) {
        u16 before = memory->tx.filled;
        memory->tx.filled += arguments[2];
        ring(&memory->tx);
        while (__atomic_load_n(&memory->tx.used.index, __ATOMIC_ACQUIRE) != memory->tx.filled)
            pause();
        used += (u16)(memory->tx.used.index - before);
    }
    observe(used);
    observe(memory->tx.used.index);
}

TEST(speak)                              /* argument 1: packets, 2: who, of at most 4; observes what was heard from each */
{
    unsigned heard[5] = {0};
    u32 length;
    u8 source[6] = {2, 0, 0, 0, 1, arguments[2]};
    start(false);
    fill(ENTRIES / 2);
    host(0);                             /* all are plugged in */
    for (u32 n = 0; n < arguments[1]; n++) {
        u8 *frame = memory->outgoing[memory->tx.filled % ENTRIES] + HEADER;
        queue_frame(n, PATTERN);
        memset(frame, 255, 6);
        memcpy(frame + 6, source, 6);
    }
    ring(&memory->tx);
    host(1);                             /* all have spoken, and all is delivered */
    while (came(&memory->rx)) {
        u8 who = memory->incoming[take(&memory->rx, &length) % ENTRIES][HEADER + 11];
        heard[who < 4 ? who : 4]++;
    }
    for (unsigned who = 0; who < 5; who++)
        observe(heard[who]);
}

TEST(flood)                              /* argument 1: rounds of so many packets as 2 says, 3: bytes of one */
{
    start(false);
    for (u64 round = 0; round < arguments[1]; round++) {
        for (unsigned n = 0; n < arguments[2]; n++)
            queue_frame(n, arguments[3]);
        ring(&memory->tx);
        while (__atomic_load_n(&memory->tx.used.index, __ATOMIC_ACQUIRE) != memory->tx.filled)
            pause();
        host(0);                         /* time passes */
    }
    observe(memory->tx.filled);
}

int main(void)
{
    run_test();
    return 0;
}
