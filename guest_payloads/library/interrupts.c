#include "interrupts.h"

#include "report.h"

struct gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};

extern const char vectors[];             /* 16 bytes each: vectors.S */
static struct gate idt[256];
static handler *handlers[256];

void interrupts_load(void)
{
    struct { u16 limit; u64 base; } __attribute__((packed)) idtr = {sizeof idt - 1, (u64)idt};
    asm volatile("lidt %0" : : "m"(idtr));
}

void interrupts_init(void)               /* called by crt0.S */
{
    for (unsigned v = 0; v < 256; v++) {
        u64 at = (u64)(vectors + 16 * v);
        idt[v] = (struct gate){.offset_low = at, .selector = 8, .type = 0x8e, .offset_middle = at >> 16};
    }
    interrupts_load();
}

void handle(u8 vector, handler *with)
{
    handlers[vector] = with;
}

void interrupt(struct frame *frame)      /* called by vectors.S */
{
    handler *h = handlers[frame->vector];
    if (!h)
        fault(frame->vector);
    h(frame);
}
