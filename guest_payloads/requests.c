/* The local APIC, one processor: which requests are kept, which become one, which are lost.  Argument 1: as x2APIC.

   `tell` gives the vectors that were taken since the last time, in order, and 0. */
#include "library/tests.h"

#define SPURIOUS 0xff
#define SELF (IPI_FIXED | IPI_ASSERT | IPI_SELF)
#define PROBE 0x41

static volatile u16 taken[64];
static volatile unsigned count;

static void tell(void)
{
    for (unsigned n = 0; n < count; n++)
        observe(taken[n]);
    observe(0);
    count = 0;
}

static void send(u8 vector) { apic_send(0, SELF | vector); }

static void plain(struct frame *f)
{
    if (count < 64)
        taken[count++] = f->vector;
    if (f->vector >= 16)
        apic_eoi();
}

static void start(void)
{
    if (arguments[1])
        apic_use_x2();
    apic_enable(SPURIOUS);
    handle(PROBE, plain);
}

static u32 any(enum apic_register of)    /* bits of ISR or IRR */
{
    u32 bits = 0;
    for (unsigned n = 0; n < 8; n++)
        bits |= apic_read(of + 16 * n);
    return bits;
}

TEST(illegal_vector)                     /* vector 8 to itself: what was taken; a legal one after it */
{
    start();
    handle(8, plain);
    send(8);
    window();
    tell();
    send(PROBE);
    window();
    tell();
}

TEST(delivery_status)                    /* in the end the command is gone; taken */
{
    start();
    send(PROBE);
    while (apic_read(APIC_ICR) & 1 << 12)
        pause();
    window();
    tell();
}

static unsigned masked_entries(void)
{
    unsigned masked = 0;
    for (unsigned at = APIC_LVT_TIMER; at <= APIC_LVT_ERROR; at += 16)
        masked += apic_read(at) >> 16 & 1;
    return masked;
}

TEST(disabled_masks)                     /* masked LVT entries: all unmasked; disabled by SVR; unmasked while it is; enabled again */
{
    start();
    for (unsigned at = APIC_LVT_TIMER; at <= APIC_LVT_ERROR; at += 16)
        apic_write(at, 0x50);
    observe(masked_entries());
    apic_write(APIC_SVR, SPURIOUS);
    observe(masked_entries());
    for (unsigned at = APIC_LVT_TIMER; at <= APIC_LVT_ERROR; at += 16)
        apic_write(at, 0x50);
    observe(masked_entries());
    apic_enable(SPURIOUS);
    observe(masked_entries());
}

TEST(collapse)                           /* the same vector twice, and another, before any is taken */
{
    start();
    handle(0x51, plain);
    send(PROBE);
    send(0x51);
    send(PROBE);
    window();
    tell();
}

static void once_more(struct frame *f)   /* twice to itself, which is one request */
{
    if (!count) {
        send(f->vector);
        send(f->vector);
    }
    plain(f);
}

TEST(in_service_and_waiting)             /* requested again while it is in service */
{
    start();
    handle(PROBE, once_more);
    send(PROBE);
    window();
    tell();
}

TEST(empty_eoi)                          /* EOIs with nothing in service, one waits: is it waiting still; taken */
{
    start();
    apic_eoi();
    send(PROBE);
    apic_eoi();
    apic_eoi();
    observe(any(APIC_ISR));
    observe(apic_bit(APIC_IRR, PROBE));
    window();
    tell();
}

static void show_trigger(struct frame *f)
{
    observe(apic_bit(APIC_TMR, f->vector));
    plain(f);
}

TEST(edge)                               /* TMR while it waits, in the handler; taken */
{
    start();
    handle(PROBE, show_trigger);
    send(PROBE);
    observe(apic_bit(APIC_TMR, PROBE));
    window();
    tell();
}

extern const char behind_cr8[];
asm("lower_cr8: xor %eax, %eax; sti; nop; mov %rax, %cr8\n behind_cr8: nop; nop; cli; ret");
void lower_cr8(void);
static volatile u64 saved_rip;

static void note_rip(struct frame *f)
{
    saved_rip = f->rip;
    plain(f);
}

TEST(cr8_lowered)                        /* taken at CR8 = 4; is RIP right behind the MOV that lowers it; taken */
{
    start();
    handle(PROBE, note_rip);
    asm volatile("mov %0, %%cr8" : : "r"(4ul));
    send(PROBE);
    window();
    tell();
    lower_cr8();
    observe(saved_rip == (u64)behind_cr8);
    tell();
}

static void more_urgent(struct frame *f)
{
    send(PROBE);
    host(0);
    plain(f);
}

TEST(seen_by_host)                       /* act 0: 71H is in service, and 41H waits; both taken */
{
    start();
    handle(0x71, more_urgent);
    send(0x71);
    window();
    tell();
}

TEST(nmi_message)                        /* act 0 sends an NMI */
{
    start();
    handle(2, plain);
    host(0);
    host(0xff);
    tell();
    observe(any(APIC_IRR) | any(APIC_ISR));
}

static void until(unsigned number)       /* an irqfd may take a while */
{
    while (count < number)
        window();
    for (unsigned n = 0; n < 50; n++)
        window();
}

TEST(until_detached)                     /* act 0 signals; act 1 detaches; act 0 again */
{
    start();
    host(0);
    until(1);
    tell();
    host(1);
    host(0);
    until(0);
    tell();
}

TEST(rerouted)                           /* act 0 is an edge of a line; act 1 gives it vector 61H for 41H; act 0 */
{
    start();
    handle(0x61, plain);
    host(0);
    until(1);
    tell();
    host(1);
    host(0);
    until(1);
    tell();
}

int main(void)
{
    run_test();
    return 0;
}
