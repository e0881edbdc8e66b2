/* A driver of LSI's Fusion-MPT controllers 53C1030 and SAS1068, through their memory.  LSI Fusion-MPT MPI 1.5 interface. */
#include "fuzz.h"
#include "scsi.h"

enum { DOORBELL = 0x00, INTR_STATUS = 0x30, INTR_MASK = 0x34, REQUEST_QUEUE = 0x40, REPLY_QUEUE = 0x44 };
enum { IOC_INIT = 2, IOC_FACTS = 3, PORT_FACTS = 5, PORT_ENABLE = 6 };
enum { READY = 1, OPERATIONAL = 2 };
enum { NO_DATA = 0, WRITE = 1 << 24, READ = 2 << 24 };
enum { SIMPLE = 0x10u << 24, END = 0xd1u << 24, OUTWARD = 4 << 24 };

#define BAR 0xe0000000u                  /* where nobody placed the controller before us */
#define IO_BAR 0xc000u
#define DIAGNOSTIC_BAR 0xe0100000u
#define EMPTY 0xffffffffu
#define REPLIES 8

struct io {
    u8 target, bus, chain, function, cdb_length, sense_length, unused, flags;
    u32 context;
    u8 lun[8];
    u32 control;
    u8 cdb[16];
    u32 length, sense;
    struct { u32 flags, address; } list[PIECES];
    u32 padding[12];
};

static struct io frames[DEPTH] __attribute__((aligned(128)));
static u8 replies[REPLIES][128] __attribute__((aligned(128)));
static volatile u32 *base;
static u32 posted;                       /* requests that `post` has to show, by bits */

static u32 get(u32 at) { return base[at / 4]; }
static void put(u32 at, u32 value) { base[at / 4] = value; }

static pci_function find(void)
{
    pci_function at = pci_find(0x1000, 0x0030);
    if (at == PCI_NONE)
        at = pci_find(0x1000, 0x0054);
    if (at == PCI_NONE)
        fault(0xff);
    return at;
}

static void handshake(const u32 *message, unsigned dwords, u16 *reply, unsigned halfwords)
{
    put(DOORBELL, 0x42u << 24 | dwords << 16);
    put(INTR_STATUS, 0);
    while (dwords--)
        put(DOORBELL, *message++);
    for (unsigned n = 0; n < halfwords; n++) {
        for (unsigned look = 0; look < LOOKS && !(get(INTR_STATUS) & 1); look++)
            pause();
        reply[n] = get(DOORBELL);
        put(INTR_STATUS, 0);
    }
    put(INTR_STATUS, 0);
}

static void reset(void)
{
    pci_function at = find();
    place_bar(at, 0x10, IO_BAR);
    place_bar(at, 0x18, DIAGNOSTIC_BAR);
    base = (volatile u32 *)(u64)place_bar(at, 0x14, BAR);
    pci_write16(at, 0x04, 7);            /* I/O, memory, bus master */
    put(DOORBELL, 0x40u << 24);
    for (unsigned n = 0; n < LOOKS && get(DOORBELL) >> 28 != READY; n++)
        pause();
    put(INTR_MASK, 9);
    put(INTR_STATUS, 0);
}

static void start(void)
{
    static const u32 init[6] = {2 | IOC_INIT << 24, 8 << 8 | 1 << 16, 0, sizeof replies[0]};
    static const u32 enable[3] = {(u32)PORT_ENABLE << 24};
    u16 reply[10];
    reset();
    handshake(init, 6, reply, 10);
    if (reply[7] || get(DOORBELL) >> 28 != OPERATIONAL)
        fault(0xfe);
    for (unsigned n = 0; n < REPLIES; n++)
        put(REPLY_QUEUE, (u32)(u64)replies[n]);
    handshake(enable, 3, reply, 10);
}

static void queue(unsigned n, const struct request *request)
{
    struct io d = {.target = request->target, .cdb_length = request->cdb_length, .sense_length = sizeof sense, .context = n};
    u32 outward = request->write ? OUTWARD : 0;
    memcpy(d.cdb, request->cdb, 16);
    d.control = request->count ? request->write ? WRITE : READ : NO_DATA;
    d.sense = (u32)(u64)sense;
    d.list[0].flags = END;
    for (unsigned i = 0; i < request->count; i++) {
        d.list[i].address = (u32)(u64)request->pieces[i].at;
        d.list[i].flags = (i + 1 == request->count ? END : SIMPLE) | outward | request->pieces[i].length;
        d.length += request->pieces[i].length;
    }
    frames[n] = d;
    posted |= 1u << n;
}

static void post(void)
{
    asm volatile("" ::: "memory");
    for (unsigned n = 0; n < DEPTH; n++)
        if (posted & 1u << n)
            put(REQUEST_QUEUE, (u32)(u64)&frames[n]);
    posted = 0;
}

static void reap(void)
{
    for (u32 reply; (reply = get(REPLY_QUEUE)) != EMPTY;) {
        asm volatile("" ::: "memory");
        if (!(reply & 1u << 31)) {
            end(reply % DEPTH, 0, 0);
            continue;
        }
        const u8 *at = (const u8 *)(u64)(reply << 1);
        end(*(const u32 *)(at + 8) % DEPTH, *(const u16 *)(at + 14), at[12]);
        put(REPLY_QUEUE, reply << 1);
    }
}

static void irq_on(void) { put(INTR_MASK, 1); }
static bool irq_cause(void) { return get(INTR_STATUS) & 8; }
static bool use_messages(void) { return false; }     /* Linux does not, either */

TEST(identity)                           /* vendor; class; interrupt pin; kinds of BARs 0 and 1 */
{
    pci_function at = find();
    observe(pci_read16(at, 0x00));
    observe(pci_read32(at, 0x08) >> 8);
    observe(pci_read8(at, 0x3d));
    observe(pci_read32(at, 0x10) & 1);
    observe(pci_read32(at, 0x14) & 1);
}

TEST(facts)                              /* version, length and function of IOCFacts, then the same of PortFacts; status */
{
    static const u32 ask[3] = {(u32)IOC_FACTS << 24}, port[3] = {(u32)PORT_FACTS << 24};
    u16 reply[40];
    reset();
    handshake(ask, 3, reply, 40);
    observe(reply[0]);
    observe(reply[1]);
    observe(!!reply[13] && !!reply[18]); /* frames have a size, and there are credits */
    handshake(port, 3, reply, 20);
    observe(reply[1]);
    observe(reply[7]);
}

TEST(random_accesses)                    /* argument 1: how many accesses; does it read after a reset */
{
    static const u32 known[] = {0x00, 0x04, 0x08, 0x10, 0x14, 0x30, 0x34, 0x40, 0x44};
    static const u32 values[] = {0, 4, 0x42030000, 0x40000000, 0x42ff0000, 0xd0000000, ~0u};
    start();
    fuzz((volatile u8 *)base, 0x4000, known, COUNT(known), values, COUNT(values), arguments[1]);
    start();
    settle();
    observe(good(one(transfer(false, 0, 1, large))));
}
