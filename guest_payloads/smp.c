/* Do all processors start, run at the same time, and interrupt each other?

   Argument 0: how many processors the machine has.  Observations: how many ran; how many different APIC ids they have;
   what a counter holds that each has raised ROUNDS times by a locked addition; how many of the others took an IPI that
   was sent to each of them by its id. */
#include "library/apic.h"
#include "library/interrupts.h"
#include "library/report.h"
#include "library/smp.h"

#define ROUNDS 1000
#define VECTOR 0x40

static u32 ids[SMP_MAX];
static u64 counter;
static unsigned counted, woken;

static void count(unsigned number)
{
    ids[number] = apic_id();
    for (unsigned n = 0; n < ROUNDS; n++)
        __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&counted, 1, __ATOMIC_RELEASE);
}

static void on_ipi(struct frame *frame)
{
    (void)frame;
    __atomic_add_fetch(&woken, 1, __ATOMIC_RELEASE);
    apic_eoi();
}

static void other(unsigned number)
{
    count(number);
    for (;;)
        sti_hlt();
}

static void wait(const unsigned *until, unsigned value)  /* the host ends a program that waits for ever */
{
    while (__atomic_load_n(until, __ATOMIC_ACQUIRE) < value)
        pause();
}

static unsigned different(unsigned n)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned j = 0;
        while (j < i && ids[j] != ids[i])
            j++;
        found += j == i;
    }
    return found;
}

int main(void)
{
    unsigned processors = arguments[0];
    if (processors < 1 || processors > SMP_MAX)
        fault(0);
    handle(VECTOR, on_ipi);
    smp_start(other);
    count(0);
    wait(&counted, processors);
    for (unsigned n = 1; n < processors; n++)
        apic_send(ids[n], IPI_FIXED | IPI_ASSERT | VECTOR);
    wait(&woken, processors - 1);
    observe(counted);
    observe(different(processors));
    observe(counter);
    observe(woken);
    return 0;
}
