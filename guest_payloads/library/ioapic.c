#include "ioapic.h"

static volatile u32 *const at = (u32 *)0xfec00000;

u32 ioapic_read(u8 index)
{
    at[0] = index;
    return at[4];
}

void ioapic_write(u8 index, u32 value)
{
    at[0] = index;
    at[4] = value;
}

u32 ioapic_entry(unsigned line)
{
    return ioapic_read(0x10 + 2 * line);
}

void ioapic_route(unsigned line, u32 entry, u8 destination)
{
    ioapic_write(0x10 + 2 * line, IOAPIC_MASKED);
    ioapic_write(0x11 + 2 * line, (u32)destination << 24);
    ioapic_write(0x10 + 2 * line, entry);
}
