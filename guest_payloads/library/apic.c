#include "apic.h"

#define BASE_X2 (1u << 10)
#define BASE_ADDRESS 0x000ffffffffff000ull
#define ICR_PENDING (1u << 12)
#define SVR_ENABLE (1u << 8)
#define DIVIDE_BY_1 0xb

bool apic_is_x2(void)
{
    return rdmsr(MSR_APIC_BASE) & BASE_X2;
}

bool apic_has_x2(void)
{
    return cpuid(1, 0).ecx & 1u << 21;
}

void apic_use_x2(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BASE_X2);
}

static volatile u32 *memory(enum apic_register at)
{
    return (volatile u32 *)((rdmsr(MSR_APIC_BASE) & BASE_ADDRESS) + at);
}

u32 apic_read(enum apic_register from)
{
    return apic_is_x2() ? (u32)rdmsr(0x800 + from / 16) : *memory(from);
}

void apic_write(enum apic_register to, u32 value)
{
    if (apic_is_x2())
        wrmsr(0x800 + to / 16, value);
    else
        *memory(to) = value;
}

void apic_enable(u8 spurious)
{
    apic_write(APIC_SVR, SVR_ENABLE | spurious);
}

u32 apic_id(void)
{
    u32 id = apic_read(APIC_ID);
    return apic_is_x2() ? id : id >> 24;
}

void apic_send(u32 destination, u32 command)
{
    if (apic_is_x2()) {
        wrmsr(0x800 + APIC_ICR / 16, (u64)destination << 32 | command);
        return;
    }
    while (apic_read(APIC_ICR) & ICR_PENDING)
        pause();
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR, command);
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

void apic_timer(u8 vector, u32 mode, u32 count)
{
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, mode | vector);
    apic_write(APIC_TIMER_INITIAL, count);
}
