/* Processors that use PCI devices at the same time, and registers of the processor read at random.  Argument 1: how many
   processors; argument 2: how many rounds. */
#include "../library/pci.h"
#include "../library/string.h"
#include "../library/together.h"

#define CARD (2 << 3)                    /* the first bus card, its registers at MEMORY: conformance/bus_rig.py */
#define MEMORY 0xe0000000u
#define CARD_SIZE 0x200000u              /* from one card's registers to the next one's */
#define MOVED 0xe8000000u
#define SIGNATURE 0x44435056u
#define SOURCE 0x08
#define DESTINATION 0x10
#define LENGTH 0x18
#define COMMAND 0x1c
#define STATUS 0x20
#define COMPLETED 0x2c
#define FREE 0x200000u

static volatile unsigned over, odd;

static u32 load(u32 at) { return *(volatile u32 *)(u64)at; }
static void store(u32 at, u32 value) { *(volatile u32 *)(u64)at = value; }

static void move_and_read(unsigned number)
{
    if (!number) {
        for (u64 n = 0; n < rounds(); n++)
            pci_write32(CARD, 0x10, n & 1 ? MEMORY : MOVED);
        pci_write32(CARD, 0x10, MEMORY);
        raise(&over);
        return;
    }
    while (!over) {
        u32 seen = load(MEMORY);
        odd += seen != SIGNATURE && seen != 0xffffffff;
    }
}

TEST(moving_bar)                         /* reads that were neither the register nor nobody; what is there at the end */
{
    together(move_and_read);
    observe(odd);
    observe(load(MEMORY));
}

static void copy(unsigned number)
{
    u32 card = MEMORY + number * CARD_SIZE;
    for (u64 n = 0; n < rounds(); n++) {
        u32 from = FREE + number * 0x10000, to = from + 0x1000;
        store(from, n);
        store(card + SOURCE, from);
        store(card + DESTINATION, to);
        store(card + LENGTH, 4);
        store(card + COMMAND, 1);
        if (load(card + STATUS) != 1 || load(to) != n)
            raise(&odd);
    }
}

TEST(a_card_each)                        /* copies gone wrong, and how many each card did */
{
    together(copy);
    observe(odd);
    for (unsigned number = 0; number < processors(); number++)
        observe(load(MEMORY + number * CARD_SIZE + COMPLETED));
}

/* Two processors have a PVSCSI each and two an e1000; rings and buffers lie in AREA.  conformance/areas/hostile/kicks.py has
   the same addresses, and fills each sector of the disks with its number. */
#define HBA(number) (0xe0000000u + (number) * 0x10000u)
#define NIC(number) (0xe0100000u + (number) * 0x20000u)
#define AREA(number) (FREE + (number) * 0x10000u)
#define PATIENCE 10000000
#define FIRST 3                          /* after a reset a unit has something to tell */

static unsigned right[4];

static void idle(u32 *state)             /* for a while that differs */
{
    *state = *state * 1664525 + 1013904223;
    for (u32 n = *state >> 24; n; n--)
        pause();
}

static bool comes(u32 at, u32 mask, u32 value)
{
    for (u32 n = 0; n < PATIENCE; n++) {
        if ((load(at) & mask) == value)
            return true;
        pause();
    }
    return false;
}

static void read_sectors(unsigned number)
{
    u32 bar = HBA(number), rings = AREA(number), requests = rings + 0x1000, completions = rings + 0x2000, data = rings + 0x3000;
    u32 state = number;
    store(bar, 1);                       /* ADAPTER_RESET */
    store(bar, 3);                       /* SETUP_RINGS, and 132 dwords */
    for (u32 n = 0; n < 132; n++)
        store(bar + 4, n < 2 ? 1 : n == 2 ? rings >> 12 : n == 4 ? requests >> 12 : n == 68 ? completions >> 12 : 0);
    for (u32 n = 0; n < rounds() + FIRST; n++) {
        u32 at = requests + 128 * (n % 32), sector = (n * 7 + number) % 0x1000;
        memset((void *)(u64)at, 0, 128);
        store(at + 8, data);
        store(at + 16, 512);
        store(at + 36, 8);               /* to the host */
        store(at + 40, 0x28);
        store(at + 44, sector >> 8 | (sector & 0xff) << 8);
        store(at + 48, 1);               /* a sector: the last byte of the length */
        store(at + 56, 10);
        idle(&state);
        store(rings, n + 1);
        store(bar + 0x4018, 0);
        if (!comes(rings + 12, ~0u, n + 1))
            return;
        store(rings + 16, n + 1);
        right[number] += n >= FIRST && load(data) == sector * 0x10001 && load(data + 508) == sector * 0x10001;
        store(data, ~0u);
    }
}

static void send_frames(unsigned number)
{
    u32 bar = NIC(number - 2), ring = AREA(number), frame = ring + 0x1000, state = number;
    store(bar + 0x3800, ring);
    store(bar + 0x3804, 0);
    store(bar + 0x3808, 256);
    store(bar + 0x3810, 0);
    store(bar + 0x3818, 0);
    store(bar + 0x400, 2);
    for (u32 n = 0; n < rounds(); n++) {
        u32 at = ring + 16 * (n % 16);
        store(frame + 16, n);
        store(at, frame);
        store(at + 4, 0);
        store(at + 8, 60 | 0xbu << 24);  /* EOP, IFCS, RS */
        store(at + 12, 0);
        idle(&state);
        store(bar + 0x3818, (n + 1) % 16);
        if (!comes(at + 12, 1, 1))
            return;
        right[number]++;
    }
}

static void kick(unsigned number)
{
    if (number < 2)
        read_sectors(number);
    else
        send_frames(number);
}

TEST(a_controller_each)                  /* how many requests of each processor went well */
{
    together(kick);
    for (unsigned number = 0; number < processors(); number++)
        observe(right[number]);
}

static volatile unsigned refused;

static void skip(struct frame *frame)    /* RDMSR and WRMSR have two bytes */
{
    refused++;
    frame->rip += 2;
}

TEST(random_msrs)                        /* reads and writes of MSRs that nobody has end in #GP, each one */
{
    u32 state = 1, tried = 0;
    handle(13, skip);
    for (u64 n = 0; n < rounds(); n++) {
        state = state * 1664525 + 1013904223;
        u32 msr = 0x80000000 | state >> 1;      /* far from those that any processor or hypervisor has */
        if (msr >= 0xc0000000)
            msr -= 0x30000000;
        asm volatile("rdmsr" : : "c"(msr) : "eax", "edx");
        asm volatile("wrmsr" : : "c"(msr), "a"(state), "d"(~state));
        tried += 2;
    }
    observe(refused == tried);
}

#define COM1 0x3f8

TEST(random_uart)                        /* after random accesses: what LSR and RBR say of a byte in loop-back */
{
    u32 state = 1;
    for (u64 n = 0; n < rounds(); n++) {
        state = state * 1664525 + 1013904223;
        u16 port = COM1 + (state >> 28) % 8;
        if (state >> 24 & 3)
            out8(port, state >> 16);
        else
            in8(port);
    }
    out8(COM1 + 3, 3);
    out8(COM1 + 1, 0);
    out8(COM1 + 4, 0x10);                /* loop-back: the host's bytes do not come */
    out8(COM1 + 2, 7);
    in8(COM1 + 5);
    out8(COM1, 'Z');
    observe(in8(COM1 + 5));
    observe(in8(COM1));
    observe(in8(COM1 + 5));
}

int main(void)
{
    run_test();
    return 0;
}
