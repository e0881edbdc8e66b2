/* Non-maskable interrupts from the host: its act 0 sends one. */
#include "library/tests.h"

static volatile unsigned entries, depth, deepest, to_send;

static void on_nmi(struct frame *f)
{
    (void)f;
    entries++;
    if (++depth > deepest)
        deepest = depth;
    while (to_send) {
        to_send--;
        host(0);
        host(0xff);                      /* no act: a boundary at which it may come */
    }
    depth--;
}

/* Five NMIs come during the handler of one: is there one more, not six; how deep do handlers nest. */
TEST(nmi_flood)
{
    handle(2, on_nmi);
    to_send = 5;
    host(0);
    for (unsigned n = 0; n < 8; n++)
        host(0xff);
    observe(entries >= 2 && entries <= 3);
    observe(deepest);
}

/* An NMI comes in the handler of INT 2: how many handlers run, how deep do they nest. */
TEST(nmi_in_int2)
{
    handle(2, on_nmi);
    to_send = 1;
    asm volatile("int $2" ::: "memory");
    host(0xff);
    observe(entries);
    observe(deepest);
}

int main(void)
{
    run_test();
    return 0;
}
