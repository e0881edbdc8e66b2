/* Walks a table of accesses that a case wrote at ACCESSES: what a driver would do, one by one.  What is read is observed.
   guest_payloads/accesses.py has the same layout. */
#include "../library/apic.h"
#include "../library/interrupts.h"
#include "../library/pic.h"
#include "../library/report.h"
#include "../library/string.h"

#define ACCESSES 0x180000
#define PATIENCE 100000                  /* looks, each with an exit, before something counts as not coming */
#define NO_ACT 0xff                      /* of the host */

#define PIC_VECTORS 0x20                 /* sixteen; further ones are messages */
#define SPURIOUS 0xef

enum what { END, OUT, IN, STORE, LOAD, FILL, COPY, POLL_IN, POLL, HOST, PIC, HANDLE, WAIT, COUNT, OUTS, INS };

struct access {
    u32 what, size;
    u64 address, value, mask;
};

static volatile u32 taken[256];          /* interrupts by vector */
static const struct access *handling[256];

static bool in_handler;                  /* what it reads is not observed */

static void see(u64 value)
{
    if (!in_handler)
        observe(value);
}

static u64 in(u16 port, u32 size)
{
    return size == 1 ? in8(port) : size == 2 ? in16(port) : in32(port);
}

static u64 load(u64 at, u32 size)
{
    switch (size) {
    case 1: return *(volatile u8 *)at;
    case 2: return *(volatile u16 *)at;
    case 4: return *(volatile u32 *)at;
    default: return *(volatile u64 *)at;
    }
}

static void store(u64 at, u32 size, u64 value)
{
    switch (size) {
    case 1: *(volatile u8 *)at = value; break;
    case 2: *(volatile u16 *)at = value; break;
    case 4: *(volatile u32 *)at = value; break;
    default: *(volatile u64 *)at = value;
    }
}

static void outs(const struct access *of)
{
    const void *from = (const void *)of->value;
    u64 count = of->mask;
    u16 port = of->address;
    switch (of->size) {
    case 1: asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(port) : "memory"); break;
    case 2: asm volatile("rep outsw" : "+S"(from), "+c"(count) : "d"(port) : "memory"); break;
    default: asm volatile("rep outsl" : "+S"(from), "+c"(count) : "d"(port) : "memory");
    }
}

static void ins(const struct access *of)
{
    void *to = (void *)of->value;
    u64 count = of->mask;
    u16 port = of->address;
    switch (of->size) {
    case 1: asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory"); break;
    case 2: asm volatile("rep insw" : "+D"(to), "+c"(count) : "d"(port) : "memory"); break;
    default: asm volatile("rep insl" : "+D"(to), "+c"(count) : "d"(port) : "memory");
    }
}

static bool poll(const struct access *of)
{
    for (unsigned n = 0; n < PATIENCE; n++) {
        u64 found = of->what == POLL ? load(of->address, of->size) : in(of->address, of->size);
        if ((found & of->mask) == of->value)
            return true;
        host(NO_ACT);
    }
    return false;
}

static void walk(const struct access *of);

static void interrupted(struct frame *frame)
{
    u8 vector = frame->vector;
    taken[vector]++;
    if (handling[vector]) {
        in_handler = true;
        walk(handling[vector]);
        in_handler = false;
    }
    if (vector < PIC_VECTORS + 16) {
        if (vector >= PIC_VECTORS + 8)
            out8(PIC_SLAVE, 0x20);
        out8(PIC_MASTER, 0x20);
    } else {
        apic_eoi();
    }
}

static void window(void)
{
    sti();
    for (unsigned n = 0; n < 4; n++)
        host(NO_ACT);
    cli();
}

static void wait(u8 vector, u64 count)
{
    for (unsigned n = 0; n < PATIENCE && taken[vector] < count; n++)
        window();
}

/* Until END. */
static void walk(const struct access *of)
{
    for (; of->what != END; of++) {
        switch (of->what) {
        case OUT:
            if (of->size == 1)
                out8(of->address, of->value);
            else if (of->size == 2)
                out16(of->address, of->value);
            else
                out32(of->address, of->value);
            break;
        case IN: see(in(of->address, of->size)); break;
        case STORE: store(of->address, of->size, of->value); break;
        case LOAD: see(load(of->address, of->size)); break;
        case FILL:
            for (u64 n = 0; n < of->mask; n += of->size)
                store(of->address + n, of->size, of->value);
            break;
        case COPY: memcpy((void *)of->address, (const void *)of->value, of->mask); break;
        case POLL_IN:
        case POLL: see(poll(of)); break;
        case HOST: host(of->value); break;
        case PIC: apic_enable(SPURIOUS); pic_open(PIC_VECTORS, of->value, of->mask); break;
        case HANDLE: {                   /* what follows, to its END, is done in the handler of that vector */
            u8 vector = of->address;
            apic_enable(SPURIOUS);
            handle(vector, interrupted);
            handling[vector] = of + 1;
            while (of->what != END)
                of++;
            break;
        }
        case WAIT: wait(of->address, of->value); see(taken[of->address & 0xff]); break;
        case COUNT: window(); see(taken[of->address & 0xff]); break;
        case OUTS: outs(of); break;
        case INS: ins(of); break;
        default: fault(0xff);
        }
    }
}

int main(void)
{
    walk((const struct access *)ACCESSES);
    return 0;
}
