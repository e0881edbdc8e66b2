/* Random accesses to the registers of a device, the same each time. */
#pragma once

#include "../library/cpu.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static u32 drawn = 1;

static u32 draw(u32 below)
{
    drawn = drawn * 1664525 + 1013904223;
    return (drawn >> 8) % below;
}

/* Of all sizes and to all places; `known` are registers that matter more often than they would be met by chance, `values`
   what makes sense to them.  Other values are addresses where nobody has memory. */
static void fuzz(volatile u8 *at, u32 size, const u32 *known, u32 registers, const u32 *values, u32 count, u64 accesses)
{
    for (u64 n = 0; n < accesses; n++) {
        volatile u8 *where = at + (draw(2) ? known[draw(registers)] : draw(size - 8));
        u32 value = draw(3) ? values[draw(count)] : drawn | 1u << 31;
        switch (draw(10)) {
        case 0: *where = value; break;
        case 1: *(volatile u16 *)where = value; break;
        case 2: *(volatile u64 *)where = (u64)drawn << 32 | value; break;
        case 3: (void)*where; break;
        case 4: (void)*(volatile u64 *)where; break;
        case 5: (void)*(volatile u32 *)where; break;
        default: *(volatile u32 *)where = value;
        }
    }
}
