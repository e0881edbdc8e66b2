/* Lines through both 8259s and through the I/O APIC.  The host's acts: 0 raises the line of the test, 1 lowers it.

   `tell` gives the vectors that were taken since the last time, in order, and 0. */
#include "library/ioapic.h"
#include "library/pic.h"
#include "library/tests.h"

#define LINE 20                          /* of the I/O APIC */

static volatile u8 taken[64];
static volatile unsigned count, lower_at;   /* at which interrupt the handler has the line lowered */

static void tell(void)
{
    for (unsigned n = 0; n < count; n++)
        observe(taken[n]);
    observe(0);
    count = 0;
}

static u8 in_service(u16 chip)
{
    out8(chip, 0x0b);
    return in8(chip);
}

static void end_of_interrupt(void)
{
    if (in_service(PIC_SLAVE))
        out8(PIC_SLAVE, 0x20);
    out8(PIC_MASTER, 0x20);
}

static void note(struct frame *f)
{
    if (count < 64)
        taken[count++] = f->vector;
    if (count == lower_at)
        host(1);
}

static void note_and_end(struct frame *f)
{
    note(f);
    end_of_interrupt();
}

static void start_pics(u8 base, u8 mask)
{
    apic_enable(0xff);
    apic_write(APIC_LVT_LINT0, LINT_EXTINT);
    pic_start(PIC_MASTER, base, 4, mask);
    pic_start(PIC_SLAVE, base + 8, 2, 0);
    for (unsigned n = 0; n < 16; n++)
        handle(base + n, note_and_end);
}

TEST(pic_base)                           /* line 4 with vectors from 20H, then from 60H */
{
    start_pics(0x20, 0);
    host(0);
    window();
    tell();
    host(1);
    start_pics(0x60, 0);
    host(0);
    window();
    tell();
}

TEST(pic_mask)                           /* line 4 masked; unmasked */
{
    start_pics(0x20, 0x10);
    host(0);
    window();
    tell();
    out8(PIC_MASTER + 1, 0);
    window();
    tell();
}

TEST(pic_imr)                            /* what both mask registers read after two values each */
{
    start_pics(0x20, 0);
    for (unsigned n = 0; n < 2; n++) {
        out8(PIC_MASTER + 1, n ? 0x5a : 0xa5);
        out8(PIC_SLAVE + 1, n ? 0xa5 : 0x5a);
        observe(in8(PIC_MASTER + 1));
        observe(in8(PIC_SLAVE + 1));
    }
}

TEST(pic_eoi)                            /* lines 3 and 5: before an EOI, with what is in service; after it; after a second */
{
    start_pics(0x20, 0);
    handle(0x23, note);
    handle(0x25, note);
    host(0);
    host(2);
    window();
    tell();
    observe(in_service(PIC_MASTER));
    end_of_interrupt();
    window();
    tell();
    observe(in_service(PIC_MASTER));
    end_of_interrupt();
    observe(in_service(PIC_MASTER));
}

TEST(pic_two)                            /* acts 0 and 2, both with IF = 0 */
{
    start_pics(0x20, 0);
    host(0);
    host(2);
    window();
    window();
    tell();
}

TEST(pic_cascade)                        /* line 8: taken; in service in master and slave; after both EOIs */
{
    start_pics(0x20, 0);
    handle(0x28, note);
    host(0);
    window();
    tell();
    observe(in_service(PIC_MASTER));
    observe(in_service(PIC_SLAVE));
    end_of_interrupt();
    observe(in_service(PIC_MASTER) | in_service(PIC_SLAVE));
}

TEST(pic_lint0)                          /* line 4 with LINT0 masked; as ExtINT */
{
    start_pics(0x20, 0);
    apic_write(APIC_LVT_LINT0, LINT_EXTINT | LVT_MASKED);
    host(0);
    window();
    tell();
    apic_write(APIC_LVT_LINT0, LINT_EXTINT);
    window();
    tell();
}

TEST(pic_edge)                           /* line 5 rises; stays; falls and rises */
{
    start_pics(0x20, 0);
    host(0);
    window();
    tell();
    window();
    tell();
    host(1);
    host(0);
    window();
    tell();
}

TEST(pic_level)                          /* line 5 is high until the third interrupt */
{
    start_pics(0x20, 0);
    out8(PIC_ELCR, 1 << 5);
    lower_at = 3;
    host(0);
    while (count < 3)
        window();
    window();
    tell();
}

static u8 waiting(u16 chip)
{
    out8(chip, 0x0a);
    return in8(chip);
}

TEST(pic_specific)                       /* line 5, in it line 3: taken; in service; after the EOI of 5; after that of 3 */
{
    start_pics(0x20, 0);
    handle(0x23, note);
    handle(0x25, note);
    host(0);
    window();
    host(2);
    window();
    tell();
    observe(in_service(PIC_MASTER));
    out8(PIC_MASTER, 0x65);
    observe(in_service(PIC_MASTER));
    out8(PIC_MASTER, 0x63);
    observe(in_service(PIC_MASTER));
}

TEST(pic_waiting)                        /* IRR: nothing; line 4 has risen; it is in service; taken */
{
    start_pics(0x20, 0);
    handle(0x24, note);
    observe(waiting(PIC_MASTER));
    host(0);
    observe(waiting(PIC_MASTER));
    window();
    observe(waiting(PIC_MASTER));
    tell();
}

TEST(pic_seen)                           /* line 3 in service, line 5 waits, IMR is 88H: ISR, IRR, IMR; act 3 is the host's look */
{
    start_pics(0x20, 0);
    handle(0x23, note);
    host(0);
    window();
    host(2);
    out8(PIC_MASTER + 1, 0x88);
    observe(in_service(PIC_MASTER));
    observe(waiting(PIC_MASTER));
    observe(in8(PIC_MASTER + 1));
    host(3);
}

static void note_and_eoi(struct frame *f)
{
    note(f);
    apic_eoi();
}

static void show_irr(struct frame *f)
{
    observe(!!(ioapic_entry(LINE) & IOAPIC_REMOTE_IRR));
    note(f);
    apic_eoi();
    observe(!!(ioapic_entry(LINE) & IOAPIC_REMOTE_IRR));
}

static void start_ioapic(u32 entry)
{
    pic_start(PIC_MASTER, 0x20, 4, 0xff);
    pic_start(PIC_SLAVE, 0x28, 2, 0xff);
    apic_enable(0xff);
    handle(0x60, note_and_eoi);
    ioapic_route(LINE, entry | 0x60, 0);
}

#define WRITABLE 0x1afffu                /* not: delivery status, remote IRR */
#define DEFINED 0x1ffffu

TEST(ioapic_bits)                        /* how many entries do not keep just the bits that can be written, of ones and zeros */
{
    unsigned wrong = 0;
    for (unsigned n = 0; n < IOAPIC_LINES; n++) {
        ioapic_write(0x10 + 2 * n, IOAPIC_MASKED);
        ioapic_write(0x11 + 2 * n, ~0u);
        ioapic_write(0x10 + 2 * n, ~0u);
        wrong += (ioapic_read(0x10 + 2 * n) & DEFINED) != WRITABLE || ioapic_read(0x11 + 2 * n) >> 24 != 0xff;
        ioapic_write(0x10 + 2 * n, IOAPIC_MASKED);
        ioapic_write(0x11 + 2 * n, 0);
        wrong += (ioapic_read(0x10 + 2 * n) & DEFINED) != IOAPIC_MASKED || ioapic_read(0x11 + 2 * n) >> 24;
    }
    observe(wrong);
}

TEST(ioapic_edge)                        /* rises; stays; falls and rises */
{
    start_ioapic(0);
    host(0);
    window();
    tell();
    window();
    tell();
    host(1);
    host(0);
    window();
    tell();
}

TEST(ioapic_level)                       /* remote IRR in the handler, after EOI with the line low; taken; remote IRR at the end */
{
    start_ioapic(IOAPIC_LEVEL);
    handle(0x60, show_irr);
    lower_at = 1;
    host(0);
    window();
    window();
    tell();
    observe(!!(ioapic_entry(LINE) & IOAPIC_REMOTE_IRR));
}

TEST(ioapic_held)                        /* the line is high until the third interrupt */
{
    start_ioapic(IOAPIC_LEVEL);
    lower_at = 3;
    host(0);
    while (count < 3)
        window();
    window();
    tell();
}

TEST(ioapic_masked)                      /* a high level while masked; unmasked */
{
    start_ioapic(IOAPIC_LEVEL | IOAPIC_MASKED);
    lower_at = 1;
    host(0);
    window();
    tell();
    ioapic_route(LINE, IOAPIC_LEVEL | 0x60, 0);
    while (!count)
        window();
    window();
    tell();
}

TEST(ioapic_id)                          /* ID: what it reads after ones, and after zeros */
{
    ioapic_write(0, ~0u);
    observe(ioapic_read(0));
    ioapic_write(0, 0);
    observe(ioapic_read(0));
}

TEST(ioapic_version)                     /* a version of the chip (11H or 20H), the number of the last entry, does it stay */
{
    u32 version = ioapic_read(1);
    ioapic_write(1, ~version);
    observe((version & 0xff) == 0x11 || (version & 0xff) == 0x20);
    observe(version >> 16 & 0xff);
    observe(ioapic_read(1) == version);
}

TEST(ioapic_reset)                       /* how many entries are masked at first */
{
    unsigned masked = 0;
    for (unsigned n = 0; n < IOAPIC_LINES; n++)
        masked += !!(ioapic_entry(n) & IOAPIC_MASKED);
    observe(masked);
}

TEST(ioapic_twice)                       /* a level that falls in the handler, and comes again */
{
    start_ioapic(IOAPIC_LEVEL);
    lower_at = 1;
    host(0);
    window();
    tell();
    lower_at = 1;
    host(0);
    window();
    tell();
}

TEST(ioapic_coalesced)                   /* two edges before the first is taken */
{
    start_ioapic(0);
    host(0);
    host(1);
    host(0);
    window();
    window();
    tell();
}

#define DELIVER_NMI (4 << 8)

TEST(ioapic_nmi)                         /* an entry that delivers NMIs */
{
    start_ioapic(DELIVER_NMI);
    handle(2, note);
    host(0);
    host(0xff);
    tell();
}

TEST(ioapic_to_edge)                     /* remote IRR of an interrupt that has no EOI; after the entry was made an edge */
{
    start_ioapic(IOAPIC_LEVEL);
    handle(0x60, note);
    lower_at = 1;
    host(0);
    window();
    observe(!!(ioapic_entry(LINE) & IOAPIC_REMOTE_IRR));
    ioapic_write(0x10 + 2 * LINE, IOAPIC_MASKED | 0x60);
    observe(!!(ioapic_entry(LINE) & IOAPIC_REMOTE_IRR));
    tell();
}

static void show_tmr(struct frame *f)
{
    observe(apic_bit(APIC_TMR, 0x60));
    note(f);
    apic_eoi();
}

TEST(ioapic_tmr)                         /* TMR in the handler of a level; of an edge of the same vector; taken */
{
    start_ioapic(IOAPIC_LEVEL);
    handle(0x60, show_tmr);
    lower_at = 1;
    host(0);
    window();
    ioapic_route(LINE, 0x60, 0);
    host(0);
    window();
    tell();
}

TEST(ioapic_resampled)                   /* act 0 signals; act 3 checks that the EOI was told, and signals again; act 4 checks */
{
    start_ioapic(IOAPIC_LEVEL);
    host(0);
    while (count < 1)
        window();
    host(3);
    while (count < 2)
        window();
    host(4);
    window();
    tell();
}

int main(void)
{
    run_test();
    return 0;
}
