/* A driver of the modern virtio interface over PCI, by VIRTIO 1.2: "Virtio Over PCI Bus", "Split Virtqueues".  It takes
   the windows where firmware has put them, or puts them somewhere itself.  Queues lie in memory from 2 MiB on. */
#pragma once

#include "../library/pci.h"
#include "../library/string.h"
#include "../library/tests.h"

enum { VENDOR = 0x1af4, COMMAND = 0x04, BARS = 0x10, MASTER_AND_MEMORY = 6, OF_VENDOR = 0x09 };
enum { COMMON_STRUCTURE = 1, NOTIFY_STRUCTURE, ISR_STRUCTURE, DEVICE_STRUCTURE, WINDOW_STRUCTURE };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64 };
enum { DESC_NEXT = 1, DESC_WRITE = 2 };
#define VERSION_1 (1ull << 32)
#define ENTRIES 256

struct common {                          /* "Common configuration structure layout" */
    u32 device_feature_select, device_feature, driver_feature_select, driver_feature;
    u16 config_vector, num_queues;
    u8 status, generation;
    u16 queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
    u32 desc_low, desc_high, driver_low, driver_high, device_low, device_high;
};

struct descriptor { u64 address; u32 length; u16 flags, next; };
struct available { u16 flags, index, ring[ENTRIES], used_event; };
struct used { u16 flags, index; struct { u32 head, length; } ring[ENTRIES]; u16 avail_event; };

struct queue {                           /* shared with the device, but for the last line */
    struct descriptor descriptors[ENTRIES];
    struct available available;
    struct used used __attribute__((aligned(4096)));
    volatile u16 *bell;
    u16 number, filled, taken;
};

static pci_function function;
static volatile struct common *common;
static volatile u8 *isr, *config;
static u64 notify_base;
static u32 notify_multiplier, found_structures;
static unsigned bells;

static u64 bar(unsigned number)
{
    u8 at = BARS + 4 * number;
    u32 low = pci_read32(function, at);
    if (!(low & ~15u)) {
        pci_write32(function, at, 0xe0000000 + 0x10000 * number);
        if ((low & 6) == 4)
            pci_write32(function, at + 4, 0);
    }
    return pci_read32(function, at) & ~15u;
}

/* Look for the device under both of its ids, and for its structures. */
static void find(u16 transitional, u16 modern)
{
    function = pci_find(VENDOR, transitional);
    if (function == PCI_NONE)
        function = pci_find(VENDOR, modern);
    if (function == PCI_NONE)
        fault(0xfe);
    u8 at = pci_read8(function, 0x34) & 0xfc;
    for (unsigned n = 0; at && n < 48; n++, at = pci_read8(function, at + 1) & 0xfc) {
        u8 type = pci_read8(function, at + 3);
        if (pci_read8(function, at) != OF_VENDOR || type > WINDOW_STRUCTURE || found_structures & 1u << type)
            continue;
        found_structures |= 1u << type;
        if (type == WINDOW_STRUCTURE)
            continue;
        u64 place = bar(pci_read8(function, at + 4)) + pci_read32(function, at + 8);
        switch (type) {
        case COMMON_STRUCTURE: common = (volatile struct common *)place; break;
        case ISR_STRUCTURE: isr = (volatile u8 *)place; break;
        case DEVICE_STRUCTURE: config = (volatile u8 *)place; break;
        case NOTIFY_STRUCTURE:
            notify_base = place;
            notify_multiplier = pci_read32(function, at + 16);
        }
    }
    pci_write16(function, COMMAND, pci_read16(function, COMMAND) | MASTER_AND_MEMORY);
}

/* From reset to FEATURES_OK; the program ends where the device does not agree. */
static void negotiate(u64 features)
{
    common->status = 0;
    while (common->status)
        pause();
    common->status = ACKNOWLEDGE;
    common->status = ACKNOWLEDGE | DRIVER;
    features |= VERSION_1;
    for (unsigned half = 0; half < 2; half++) {
        common->driver_feature_select = half;
        common->driver_feature = features >> 32 * half;
    }
    common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    if (!(common->status & FEATURES_OK))
        fault(0xfd);
}

static void set_up(struct queue *queue, u16 number)
{
    memset(queue, 0, sizeof *queue);
    queue->number = number;
    common->queue_select = number;
    common->queue_size = ENTRIES;
    if (common->queue_size != ENTRIES)
        fault(0xfc);
    common->desc_low = (u64)queue->descriptors;
    common->driver_low = (u64)&queue->available;
    common->device_low = (u64)&queue->used;
    common->desc_high = common->driver_high = common->device_high = 0;
    queue->bell = (volatile u16 *)(notify_base + notify_multiplier * common->queue_notify_off);
    common->queue_enable = 1;
}

static void go(void) { common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK; }

static void describe(struct queue *queue, unsigned at, const void *address, u32 length, u16 flags)
{
    queue->descriptors[at] = (struct descriptor){(u64)address, length, flags, flags & DESC_NEXT ? at + 1 : 0};
}

static void offer(struct queue *queue, u16 head)
{
    queue->available.ring[queue->filled++ % ENTRIES] = head;
}

/* Show the device what was offered, and notify it unless it has said that it does not want that. */
static void ring(struct queue *queue)
{
    __atomic_store_n(&queue->available.index, queue->filled, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(*(volatile u16 *)&queue->used.flags & 1)) {
        *queue->bell = queue->number;
        bells++;
    }
}

static bool came(struct queue *queue)
{
    return __atomic_load_n(&queue->used.index, __ATOMIC_ACQUIRE) != queue->taken;
}

/* The next chain that came back, which there must be. */
static u16 take(struct queue *queue, u32 *length)
{
    unsigned at = queue->taken++ % ENTRIES;
    *length = queue->used.ring[at].length;
    return queue->used.ring[at].head;
}

static volatile unsigned interrupts;

static void interrupted(struct frame *frame)
{
    (void)frame;
    interrupts++;
    apic_eoi();
}

/* Let queue `number` interrupt by a message of `vector`; before the queue is enabled. */
static void take_messages(u16 number, u8 vector)
{
    bar(pci_read32(function, pci_capability(function, PCI_MSIX) + 4) & 7);
    pci_use_message(function, vector);
    apic_enable(0xef);
    handle(vector, interrupted);
    common->queue_select = number;
    common->queue_vector = 0;
    if (common->queue_vector != 0)
        fault(0xfb);
}

static inline void await_interrupt(unsigned before)
{
    while (interrupts == before) {
        sti_hlt();
        cli();
    }
}
