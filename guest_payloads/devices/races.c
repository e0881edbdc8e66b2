/* Processors that use PCI devices at the same time, and registers of the processor read at random.  Argument 1: how many
   processors; argument 2: how many rounds. */
#include "../library/pci.h"
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
