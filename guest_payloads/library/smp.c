#include "smp.h"

#include "apic.h"
#include "interrupts.h"
#include "string.h"

#define START 0x8000                     /* the page that SIPI names; a real-mode segment of it */
#define STACK 4096
#define SPURIOUS 0xff

extern const char ap_start[], ap_start_end[];    /* ap.S */
extern u32 ap_cr0, ap_cr3, ap_cr4, ap_efer;      /* in the code's page once it is copied: set before */

char ap_stacks[SMP_MAX][STACK] __attribute__((aligned(16), section(".noinit")));
static void (*todo)(unsigned number);
static unsigned arrived;

unsigned smp_arrived(void)
{
    return __atomic_load_n(&arrived, __ATOMIC_ACQUIRE);
}

/* Processors since the Pentium Pro need no 10 ms between INIT and SIPI; a little is left to them. */
static void delay(void)
{
    for (u64 end = rdtsc() + 100000; rdtsc() < end;)
        pause();
}

void smp_start(void (*function)(unsigned number))
{
    todo = function;
    ap_cr0 = read_cr0();
    ap_cr3 = read_cr3();
    ap_cr4 = read_cr4();
    ap_efer = rdmsr(MSR_EFER) & ~(1u << 10);     /* LMA is the processor's to set */
    memcpy((void *)START, ap_start, ap_start_end - ap_start);
    apic_enable(SPURIOUS);
    apic_send(0, IPI_INIT | IPI_ASSERT | IPI_OTHERS);
    delay();
    apic_send(0, IPI_STARTUP | IPI_ASSERT | IPI_OTHERS | START >> 12);
    delay();
    apic_send(0, IPI_STARTUP | IPI_ASSERT | IPI_OTHERS | START >> 12);
}

_Noreturn void ap_main(unsigned number)  /* called by ap.S */
{
    interrupts_load();
    apic_enable(SPURIOUS);
    __atomic_add_fetch(&arrived, 1, __ATOMIC_RELEASE);
    todo(number);
    for (;;)
        asm volatile("cli; hlt");
}
