/* A driver of VMware's PVSCSI.  The interface is that of its Linux driver's header. */
#include "fuzz.h"
#include "scsi.h"

enum { COMMAND = 0x0, COMMAND_DATA = 0x4, COMMAND_STATUS = 0x8, INTR_STATUS = 0x100c, INTR_MASK = 0x2010, KICK_RW = 0x4018 };
enum { ADAPTER_RESET = 1, SETUP_RINGS = 3 };
enum { SG_LIST = 1, NO_DATA = 4, TO_HOST = 8, TO_DEVICE = 16 };

#define BAR 0xe0000000u                  /* where nobody placed the adapter before us */

struct request_descriptor {
    u64 context, data, length, sense;
    u32 sense_length, flags;
    u8 cdb[16], cdb_length, lun[8], tag, bus, target, vcpu, unused[59];
};
struct completion_descriptor { u64 context, length; u32 sense_length; u16 host, scsi; u32 unused[2]; };
struct element { u64 address; u32 length, flags; };
struct rings { u32 req_prod, req_cons, req_log2, cmp_prod, cmp_cons, cmp_log2, unused[1018]; };
struct setup { u32 request_pages, completion_pages; u64 state, requests[32], completions[32]; };

static volatile struct rings rings __attribute__((aligned(4096)));
static volatile struct request_descriptor requests[32] __attribute__((aligned(4096)));
static volatile struct completion_descriptor completions[128] __attribute__((aligned(4096)));
static struct element lists[DEPTH][PIECES] __attribute__((aligned(64)));
static volatile u32 *base;

static u32 get(u32 at) { return base[at / 4]; }
static void put(u32 at, u32 value) { base[at / 4] = value; }

static pci_function find(void)
{
    pci_function at = pci_find(0x15ad, 0x07c0);
    if (at == PCI_NONE)
        fault(0xff);
    return at;
}

static void attach(pci_function at)
{
    base = (volatile u32 *)(u64)place_bar(at, 0x10, BAR);
    pci_write16(at, 0x04, 6);            /* memory, bus master */
}

static void start(void)
{
    static struct setup setup;
    pci_function at = find();
    attach(at);
    put(COMMAND, ADAPTER_RESET);
    memset((void *)&rings, 0, sizeof rings);
    setup = (struct setup){.request_pages = 1, .completion_pages = 1, .state = (u64)&rings >> 12};
    setup.requests[0] = (u64)requests >> 12;
    setup.completions[0] = (u64)completions >> 12;
    put(COMMAND, SETUP_RINGS);
    for (unsigned n = 0; n < sizeof setup / 4; n++)
        put(COMMAND_DATA, ((u32 *)&setup)[n]);
    if (get(COMMAND_STATUS))
        fault(0xfe);
}

static void queue(unsigned n, const struct request *request)
{
    struct request_descriptor d = {.context = n + 1, .sense = (u64)sense, .sense_length = sizeof sense, .tag = 0x20};
    memcpy(d.cdb, request->cdb, 16);
    d.cdb_length = request->cdb_length;
    d.target = request->target;
    d.flags = request->count ? request->write ? TO_DEVICE : TO_HOST : NO_DATA;
    for (unsigned i = 0; i < request->count; i++) {
        lists[n][i] = (struct element){(u64)request->pieces[i].at, request->pieces[i].length, 0};
        d.length += request->pieces[i].length;
    }
    d.data = request->count > 1 ? (u64)lists[n] : (u64)request->pieces[0].at;
    d.flags |= request->count > 1 ? SG_LIST : 0;
    memcpy((void *)&requests[rings.req_prod % 32], &d, sizeof d);
    __atomic_store_n(&rings.req_prod, rings.req_prod + 1, __ATOMIC_RELEASE);
}

static void post(void) { put(KICK_RW, 0); }

static void reap(void)
{
    while (rings.cmp_cons != __atomic_load_n(&rings.cmp_prod, __ATOMIC_ACQUIRE)) {
        volatile struct completion_descriptor *d = &completions[rings.cmp_cons % 128];
        if (d->context - 1 < DEPTH)
            end(d->context - 1, d->host, d->scsi);
        rings.cmp_cons++;
    }
}

static void irq_on(void) { put(INTR_MASK, 1); }

static bool irq_cause(void)
{
    u32 status = get(INTR_STATUS);
    put(INTR_STATUS, status);
    return status & 1;
}

static bool use_messages(void)
{
    pci_function at = find();
    attach(at);
    pci_use_message(at, VECTOR);
    return true;
}

TEST(identity)                           /* ids; class; interrupt pin; size of BAR 0 */
{
    pci_function at = find();
    observe(pci_read32(at, 0x00));
    observe(pci_read32(at, 0x08) >> 8);
    observe(pci_read8(at, 0x3d));
    observe(pci_bar_size(at, 0));
}

TEST(random_accesses)                    /* argument 1: how many accesses; does it read after a reset */
{
    static const u32 known[] = {COMMAND, COMMAND_DATA, COMMAND_STATUS, INTR_STATUS, INTR_MASK, KICK_RW, 0x3018};
    const u32 values[] = {0, 1, 3, 4, 5, 6, 7, 8, ~0u, (u32)(u64)&rings >> 12, (u32)(u64)requests >> 12};
    start();
    fuzz((volatile u8 *)base, 0x8000, known, COUNT(known), values, COUNT(values), arguments[1]);
    start();
    settle();
    finished = 0;
    observe(good(one(transfer(false, 0, 1, large))));
}
