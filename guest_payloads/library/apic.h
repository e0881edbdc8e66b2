/* The local APIC of the processor that calls, as xAPIC (in memory) or x2APIC (by MSRs), as IA32_APIC_BASE says.
   Intel SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)"; AMD APM vol. 2, the chapter of that name. */
#pragma once

#include "cpu.h"

enum apic_register {                     /* offsets of the xAPIC; the MSR is 0x800 + offset / 16 */
    APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_EOI = 0xb0, APIC_SVR = 0xf0, APIC_ISR = 0x100,
    APIC_TMR = 0x180, APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360, APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0,
};

enum apic_command {                      /* of the ICR, beside a vector */
    IPI_FIXED = 0, IPI_NMI = 4 << 8, IPI_INIT = 5 << 8, IPI_STARTUP = 6 << 8,
    IPI_ASSERT = 1 << 14, IPI_LEVEL = 1 << 15, IPI_SELF = 1 << 18, IPI_ALL = 2 << 18, IPI_OTHERS = 3 << 18,
};

enum { TIMER_ONE_SHOT = 0, TIMER_PERIODIC = 1 << 17, TIMER_DEADLINE = 2 << 17, LVT_MASKED = 1 << 16 };

bool apic_is_x2(void);
bool apic_has_x2(void);                  /* CPUID */
void apic_use_x2(void);                  /* there is no way back but through disabled */
u32 apic_read(enum apic_register from);
void apic_write(enum apic_register to, u32 value);
void apic_enable(u8 spurious);           /* in software, with the spurious vector */
u32 apic_id(void);
void apic_send(u32 destination, u32 command);    /* waits until an earlier IPI is gone */
void apic_eoi(void);
void apic_timer(u8 vector, u32 mode, u32 count); /* divides by 1 */
