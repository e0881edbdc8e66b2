/* A driver of VMXNET3, revision 1, by the header that VMware publishes with its drivers: one queue each way, all rings in
   memory from 2 MiB on.  It takes the windows where firmware has put them, or puts them somewhere itself. */
#include "../library/pci.h"
#include "../library/string.h"
#include "../library/tests.h"

enum { VENDOR = 0x15ad, DEVICE = 0x07b0, COMMAND = 0x04, BARS = 0x10, MASTER_AND_MEMORY = 6 };
enum { TXPROD = 0x600, RXPROD = 0x800 };                                          /* BAR 0; IMR n at 8 * n */
enum { VRRS = 0x00, UVRS = 0x08, DSAL = 0x10, DSAH = 0x18, CMD = 0x20, MACL = 0x28, MACH = 0x30 };   /* BAR 1 */
enum { ACTIVATE = 0xcafe0000, QUIESCE, RESET };
enum { UNICAST_AND_BROADCAST = 5 };

#define GEN 1u
#define TX_GEN (1u << 14)                /* third word of a descriptor */
#define TX_LAST (3u << 12)               /* fourth: EOP and CQ */
#define RX_GEN (1u << 31)

struct descriptor { u64 address; u32 word2, word3; };
struct completion { u32 word0, word1, word2, word3; };

#define ENTRIES 256
#define BUFFER 2048
#define PATTERN 64                       /* bytes of a frame that tell it from others: where code is interpreted each costs */

static struct memory {                   /* shared with the adapter */
    u8 shared[4096];
    u8 queues[4096];
    struct descriptor tx[ENTRIES];
    struct completion sent[ENTRIES];
    struct descriptor rx[ENTRIES];
    struct completion received[ENTRIES];
    u8 outgoing[ENTRIES][BUFFER];
    u8 incoming[ENTRIES][BUFFER];
} *const memory = (struct memory *)0x200000;

static pci_function function;
static volatile u32 *pt, *vd;
static unsigned tx_next, sent_next, rx_filled, received_next, bells;   /* since the start: the lap is what is above ENTRIES */
static u8 mac[6];

static void write(volatile u32 *window, u32 offset, u32 value) { window[offset / 4] = value; }
static u32 read(volatile u32 *window, u32 offset) { return window[offset / 4]; }
static u32 command(u32 number) { write(vd, CMD, number); return read(vd, CMD); }

static void put32(u8 *at, u32 value) { memcpy(at, &value, 4); }
static void put64(u8 *at, u64 value) { memcpy(at, &value, 8); }

static volatile u32 *bar(unsigned number)
{
    u8 at = BARS + 4 * number;
    if (!(pci_read32(function, at) & ~15u))
        pci_write32(function, at, 0xe0000000 + 0x10000 * number);
    return (volatile u32 *)(u64)(pci_read32(function, at) & ~15u);
}

static void bell(u32 which, u32 value)
{
    asm volatile("" ::: "memory");
    write(pt, which, value);
    bells++;
}

/* Reset, and make it ready; a result that is not 0 ends the program. */
static void start(bool auto_mask)
{
    function = pci_find(VENDOR, DEVICE);
    if (function == PCI_NONE)
        fault(0xfe);
    pt = bar(0);
    vd = bar(1);
    pci_write16(function, COMMAND, pci_read16(function, COMMAND) | MASTER_AND_MEMORY);
    command(RESET);
    write(vd, VRRS, 1);
    write(vd, UVRS, 1);
    u32 low = read(vd, MACL), high = read(vd, MACH);
    memcpy(mac, &low, 4);
    memcpy(mac + 4, &high, 2);

    memset(memory, 0, sizeof *memory);
    u8 *shared = memory->shared, *tx = memory->queues, *rx = memory->queues + 256;
    put32(shared, 0xbabefee1);
    put32(shared + 8, 1);                /* version, kind of guest, revision, UPT */
    put32(shared + 12, 2);
    put32(shared + 16, 1);
    put32(shared + 20, 1);
    put64(shared + 40, (u64)memory->queues);
    put32(shared + 52, 512);
    put32(shared + 56, 1500);
    shared[62] = shared[63] = 1;
    shared[80] = auto_mask;
    shared[81] = 1;                      /* interrupts: one for all */
    put32(shared + 120, UNICAST_AND_BROADCAST);
    put64(tx + 16, (u64)memory->tx);
    put64(tx + 32, (u64)memory->sent);
    put32(tx + 56, ENTRIES);
    put32(tx + 64, ENTRIES);
    put64(rx + 16, (u64)memory->rx);
    put64(rx + 32, (u64)memory->received);
    put32(rx + 56, ENTRIES);
    put32(rx + 64, ENTRIES);
    write(vd, DSAL, (u64)shared);
    write(vd, DSAH, 0);
    if (command(ACTIVATE))
        fault(0xfd);
}

static u32 lap(unsigned index) { return index / ENTRIES % 2 ? 0 : GEN; }

static void fill(unsigned count)         /* give so many buffers away, and say so once */
{
    for (; count--; rx_filled++) {
        struct descriptor *one = &memory->rx[rx_filled % ENTRIES];
        one->address = (u64)memory->incoming[rx_filled % ENTRIES];
        __atomic_store_n(&one->word2, BUFFER | (lap(rx_filled) ? RX_GEN : 0), __ATOMIC_RELEASE);
    }
    bell(RXPROD, rx_filled % ENTRIES);
}

/* Frame `number` of `size` bytes, given away but not rung for. */
static void queue(const u8 to[6], const u8 source[6], u32 number, unsigned size)
{
    u8 *frame = memory->outgoing[tx_next % ENTRIES];
    memcpy(frame, to, 6);
    memcpy(frame + 6, source, 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;
    put32(frame + 14, number);
    for (unsigned at = 18; at < size && at < PATTERN; at++)
        frame[at] = number + at;
    struct descriptor *one = &memory->tx[tx_next % ENTRIES];
    one->address = (u64)frame;
    one->word3 = TX_LAST;
    __atomic_store_n(&one->word2, size | (lap(tx_next) ? TX_GEN : 0), __ATOMIC_RELEASE);
    tx_next++;
}

static bool came(const struct completion *ring, unsigned next)
{
    return __atomic_load_n(&ring[next % ENTRIES].word3, __ATOMIC_ACQUIRE) >> 31 == lap(next);
}

/* The next frame that was received, or 0; it is the caller's until ENTRIES more have come. */
static const u8 *take(unsigned *size)
{
    if (!came(memory->received, received_next))
        return 0;
    const struct completion *one = &memory->received[received_next++ % ENTRIES];
    *size = one->word2 & 0x3fff;
    return memory->incoming[one->word0 & 0xfff];
}

static unsigned completed(void)          /* how many frames were sent since it was asked last */
{
    unsigned before = sent_next;
    while (sent_next != tx_next && came(memory->sent, sent_next))
        sent_next++;
    return sent_next - before;
}

static bool right(const u8 *frame, unsigned size, u32 number, unsigned wanted)
{
    u32 found;
    memcpy(&found, frame + 14, 4);
    bool same = size == wanted && found == number && !memcmp(frame, mac, 6);
    for (unsigned at = 18; at < wanted && at < PATTERN; at++)
        same &= frame[at] == (u8)(number + at);
    return same;
}

static const u8 peer[6] = {2, 0, 0, 0, 0, 1}, everybody[6] = {255, 255, 255, 255, 255, 255};

TEST(polled)                             /* argument 1: packets, 2: how many at a time, 3: bytes of one, to itself */
{
    unsigned good = 0, size;
    start(false);
    fill(ENTRIES / 2);
    bells = 0;
    host(0);
    for (u32 done = 0; done < arguments[1]; done += arguments[2]) {
        for (unsigned n = 0; n < arguments[2]; n++)
            queue(mac, peer, done + n, arguments[3]);
        bell(TXPROD, tx_next % ENTRIES);
        for (unsigned n = 0; n < arguments[2];) {
            const u8 *frame = take(&size);
            if (frame)
                good += right(frame, size, done + n++, arguments[3]);
            else
                pause();
        }
        while (sent_next != tx_next && !completed())
            pause();
        fill(arguments[2]);
    }
    host(1);
    observe(good);
    observe(bells);
}

static volatile unsigned interrupts;

static void interrupted(struct frame *frame)
{
    (void)frame;
    interrupts++;
    apic_eoi();
}

static void take_messages(u8 vector)
{
    bar(pci_read32(function, pci_capability(function, PCI_MSIX) + 4) & 7);
    pci_use_message(function, vector);
    apic_enable(0xef);
    handle(vector, interrupted);
}

/* Argument 1: packets, 2: buffers given back at a time, 3: bytes of one, to itself; halted while nothing comes. */
TEST(by_interrupt)
{
    unsigned good = 0, size;
    start(true);
    take_messages(0x50);
    fill(ENTRIES / 2);
    host(0);
    write(pt, 0, 0);                     /* interrupt 0 is masked at first */
    for (u32 n = 0; n < arguments[1]; n++) {
        const u8 *frame;
        unsigned before = interrupts;
        queue(mac, peer, n, arguments[3]);
        bell(TXPROD, tx_next % ENTRIES);
        do {
            while (interrupts == before) {
                sti_hlt();
                cli();
            }
            before = interrupts;
            write(pt, 0, 0);             /* it may come again */
            frame = take(&size);
        } while (!frame);
        good += right(frame, size, n, arguments[3]);
        completed();
        if (n % arguments[2] == arguments[2] - 1)
            fill(arguments[2]);
    }
    host(1);
    observe(good);
    observe(interrupts >= arguments[1] && interrupts <= 3 * arguments[1]);
}

TEST(speak)                              /* argument 1: packets, 2: who, of at most 4; observes what was heard from each */
{
    unsigned heard[5] = {0}, size;
    u8 source[6] = {2, 0, 0, 0, 1, arguments[2]};
    const u8 *frame;
    start(false);
    fill(ENTRIES / 2);
    host(0);                             /* all are plugged in */
    for (u32 n = 0; n < arguments[1]; n++)
        queue(everybody, source, n, 64);
    bell(TXPROD, tx_next % ENTRIES);
    host(1);                             /* all have spoken, and all is delivered */
    while ((frame = take(&size)))
        heard[frame[11] < 4 ? frame[11] : 4]++;
    for (unsigned who = 0; who < 5; who++)
        observe(heard[who]);
}

TEST(flood)                              /* argument 1: rounds of so many packets as 2 says, 3: bytes of one */
{
    start(false);
    for (u64 round = 0; round < arguments[1]; round++) {
        for (unsigned n = 0; n < arguments[2]; n++)
            queue(peer, mac, n, arguments[3]);
        bell(TXPROD, tx_next % ENTRIES);
        while (sent_next != tx_next && !completed())
            pause();
        host(0);                         /* time passes */
    }
    observe(sent_next);
}

int main(void)
{
    run_test();
    return 0;
}
