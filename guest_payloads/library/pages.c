#include "pages.h"

#include "string.h"

#define ADDRESS 0x000ffffffffff000ull
#define TABLES 16

static u64 tables[TABLES][512] __attribute__((aligned(4096), section(".noinit")));
static unsigned used;

/* Walk down to a level; `make` adds the tables that are missing. */
static u64 *walk(u64 linear, unsigned level, bool make)
{
    u64 *table = (u64 *)(read_cr3() & ADDRESS);
    for (unsigned l = 4;; l--) {
        u64 *entry = &table[linear >> (12 + 9 * (l - 1)) & 511];
        if (l == level)
            return entry;
        if (!(*entry & PAGE_P)) {
            if (!make || used == TABLES)
                return NULL;
            *entry = (u64)memset(tables[used++], 0, sizeof *tables) | PAGE_P | PAGE_W | PAGE_U;
        } else if (*entry & PAGE_PS) {
            return NULL;
        }
        table = (u64 *)(*entry & ADDRESS);
    }
}

u64 *page_entry(u64 linear, unsigned level)
{
    return walk(linear, level, false);
}

bool page_map(u64 linear, u64 physical, u64 flags)
{
    u64 *entry = walk(linear, 1, true);
    if (!entry)
        return false;
    *entry = (physical & ADDRESS) | flags | PAGE_P;
    invlpg((void *)linear);
    return true;
}

void page_unmap(u64 linear)
{
    u64 *entry = walk(linear, 1, false);
    if (entry) {
        *entry = 0;
        invlpg((void *)linear);
    }
}
