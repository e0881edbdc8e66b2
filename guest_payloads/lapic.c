/* The local APIC, one processor: requests, service, priorities.  Argument 1: as x2APIC.

   `taken` is what the handlers append their vectors to; a handler that has another interrupt inside it adds LEAVE + its
   vector at its end. */
#include "library/tests.h"
#include "table.h"

#define SPURIOUS 0xff
#define SELF (IPI_FIXED | IPI_ASSERT | IPI_SELF)
#define LEAVE 0x100

static volatile u16 taken[64];
static volatile unsigned count;
static u8 inner[4];                      /* what a handler sends to itself */

static void note(u16 what) { if (count < 64) taken[count++] = what; }

static void tell(void)                   /* what was taken since the last time, in order, and 0 */
{
    for (unsigned n = 0; n < count; n++)
        observe(taken[n]);
    observe(0);
    count = 0;
}

static void send(u8 vector) { apic_send(0, SELF | vector); }

static void plain(struct frame *f)
{
    note(f->vector);
    if (f->vector >= 16)
        apic_eoi();
}

static void open_to_others(struct frame *f)     /* sends to itself, and takes what it can before its own EOI */
{
    note(f->vector);
    for (unsigned n = 0; n < 4 && inner[n]; n++)
        send(inner[n]);
    window();
    note(LEAVE + f->vector);
    apic_eoi();
}

static void start(void)
{
    if (arguments[1])
        apic_use_x2();
    apic_enable(SPURIOUS);
}

static void in_service(struct frame *f)
{
    note(f->vector);
    observe(apic_bit(APIC_IRR, f->vector));
    observe(apic_bit(APIC_ISR, f->vector));
    apic_eoi();
    observe(apic_bit(APIC_ISR, f->vector));
}

/* IRR and ISR of the vector: before it is taken, in the handler, and after EOI; then what was taken. */
TEST(self_fixed)
{
    start();
    handle(0x40, in_service);
    send(0x40);
    observe(apic_bit(APIC_IRR, 0x40));
    observe(apic_bit(APIC_ISR, 0x40));
    window();
    tell();
}

TEST(self_x2)                            /* the SELF IPI register */
{
    start();
    handle(0x40, in_service);
    wrmsr(0x83f, 0x40);
    observe(apic_bit(APIC_IRR, 0x40));
    observe(apic_bit(APIC_ISR, 0x40));
    window();
    tell();
}

TEST(order)                              /* two wait: the higher vector goes first */
{
    start();
    handle(0x41, plain);
    handle(0x71, plain);
    handle(0x72, plain);
    send(0x41);
    send(0x72);
    send(0x71);
    window();
    tell();
}

TEST(nest)                               /* in the handler of 31H comes 51H */
{
    start();
    handle(0x31, open_to_others);
    handle(0x51, plain);
    inner[0] = 0x51;
    send(0x31);
    window();
    tell();
}

TEST(nonest)                             /* in the handler of 51H come 55H and 31H: after its EOI, in this order */
{
    start();
    handle(0x51, open_to_others);
    handle(0x55, plain);
    handle(0x31, plain);
    inner[0] = 0x31;
    inner[1] = 0x55;
    send(0x51);
    window();
    tell();
}

static void show_service(void)
{
    observe(apic_bit(APIC_ISR, 0x31));
    observe(apic_bit(APIC_ISR, 0x51));
}

static void ends_both(struct frame *f)
{
    (void)f;
    show_service();
    apic_eoi();
    show_service();
    apic_eoi();
    show_service();
}

static void ends_none(struct frame *f)
{
    (void)f;
    send(0x51);
    window();
}

TEST(eoi_order)                          /* ISR bits of 31H and 51H: both in service, after an EOI, after the second */
{
    start();
    handle(0x31, ends_none);
    handle(0x51, ends_both);
    send(0x31);
    window();
}

TEST(tpr_block)                          /* at TPR = 40H; after TPR = 0 */
{
    start();
    handle(0x4f, plain);
    handle(0x50, plain);
    apic_write(APIC_TPR, 0x40);
    send(0x4f);
    send(0x50);
    window();
    tell();
    apic_write(APIC_TPR, 0);
    window();
    tell();
}

TEST(tpr_f)                              /* at TPR = FFH, with an NMI of the host's; is the vector still waiting; after TPR = 0 */
{
    start();
    handle(0xf5, plain);
    handle(2, plain);
    apic_write(APIC_TPR, 0xff);
    send(0xf5);
    host(0);
    window();
    tell();
    observe(apic_bit(APIC_IRR, 0xf5));
    apic_write(APIC_TPR, 0);
    window();
    tell();
}

static unsigned pairs, wrong;

static void compare(u8 service)          /* PPR at every class of TPR, with this vector in service */
{
    for (unsigned class = 0; class < 16; class++) {
        u8 tpr = class << 4;
        apic_write(APIC_TPR, tpr);
        u8 ppr = apic_read(APIC_PPR);
        wrong += ppr != (class > service >> 4 ? tpr : service & 0xf0);
        pairs++;
    }
    apic_write(APIC_TPR, 0);
}

static void compare_in(struct frame *f)
{
    compare(f->vector);
    apic_eoi();
}

TEST(ppr)                                /* how many pairs of TPR and vector in service, and how many gave a wrong PPR */
{
    start();
    compare(0);
    for (unsigned class = 2; class < 16; class++) {
        handle(class << 4 | 3, compare_in);
        send(class << 4 | 3);
        window();
    }
    observe(pairs);
    observe(wrong);
}

TEST(tpr_low)                            /* what TPR reads, and PPR with nothing in service */
{
    start();
    apic_write(APIC_TPR, 0x45);
    host(0xff);
    observe(apic_read(APIC_TPR));
    observe(apic_read(APIC_PPR));
}

TEST(masked_by_svr)                      /* disabled by software it takes nothing, enabled again it does */
{
    start();
    handle(0x40, plain);
    apic_write(APIC_SVR, SPURIOUS);
    send(0x40);
    window();
    tell();
    apic_enable(SPURIOUS);
    send(0x41 - 1);
    window();
    tell();
}

TEST(host_message)                            /* what the host has sent; is it in service behind the EOI; IF still held it at first */
{
    start();
    handle(0x41, plain);
    host(0);
    observe(apic_bit(APIC_IRR, 0x41));
    tell();
    window();
    tell();
    observe(apic_bit(APIC_ISR, 0x41));
}

TEST(three_messages)                     /* three times: the host sends, the interrupt is taken */
{
    start();
    handle(0x41, plain);
    for (unsigned n = 0; n < 3; n++) {
        host(0);
        while (count <= n)               /* an irqfd may take a while */
            window();
    }
    window();
    tell();
}

TEST(quiet)                              /* nothing is taken, nothing waits */
{
    start();
    handle(0x41, plain);
    host(0);
    window();
    u32 waits = 0;
    for (unsigned n = 0; n < 8; n++)
        waits |= apic_read(APIC_IRR + 16 * n) | apic_read(APIC_ISR + 16 * n);
    observe(waits);
    tell();
}

/* ---- NMIs, which act 0 of the host sends */

static unsigned more = 1;                /* NMIs that the handler has sent to itself */

static void nmi_again(struct frame *f)
{
    note(f->vector);
    if (more) {
        more--;
        host(0);
        host(0xff);
    }
    note(LEAVE + f->vector);
}

TEST(nmi_blocked)                        /* an NMI in its own handler */
{
    start();
    handle(2, nmi_again);
    host(0);
    host(0xff);
    tell();
}

static void step_over(struct frame *f)
{
    note(f->vector);
    f->rip += 2;
}

static void nmi_with_exception(struct frame *f)
{
    note(f->vector);
    if (more) {
        more--;
        host(0);
        asm volatile("ud2" ::: "memory");
        host(0xff);
    }
    note(LEAVE + f->vector);
}

TEST(nmi_nested)                         /* an NMI and an exception in the handler */
{
    start();
    handle(2, nmi_with_exception);
    handle(6, step_over);
    host(0);
    host(0xff);
    tell();
}

static void nmi_opens(struct frame *f)
{
    note(f->vector);
    window();
    note(LEAVE + f->vector);
}

TEST(nmi_open)                           /* an interrupt that waits, in a handler that sets IF */
{
    start();
    handle(2, nmi_opens);
    handle(0x40, plain);
    send(0x40);
    host(0);
    host(0xff);
    tell();
}

TEST(nmi_first)                          /* an interrupt and an NMI wait, then STI and HLT */
{
    start();
    handle(2, plain);
    handle(0x40, plain);
    send(0x40);
    asm volatile("outb %%al, %%dx; sti; hlt; nop; cli" : : "a"(0), "d"(HOST_PORT) : "memory");
    host(0xff);
    window();
    tell();
}

int main(void)
{
    run_test();
    return 0;
}
