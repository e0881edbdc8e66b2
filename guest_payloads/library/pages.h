/* Page tables of four levels.  What crt0.S maps in 2 MiB pages stays; this maps what lies outside. */
#pragma once

#include "cpu.h"

enum { PAGE_P = 1, PAGE_W = 2, PAGE_U = 4, PAGE_PWT = 8, PAGE_PCD = 16, PAGE_A = 32, PAGE_D = 64, PAGE_PS = 128 };
#define PAGE_NX (1ull << 63)

/* The entry that maps a linear address at a level (1: PTE ... 4: PML4E), or null where no table leads there. */
u64 *page_entry(u64 linear, unsigned level);

/* Map a page of 4 KiB; tables on the way are made, open to everything.  False where a large page is in the way, or
   the program's 16 tables are used up.  The entry is invalidated on this processor. */
bool page_map(u64 linear, u64 physical, u64 flags);
void page_unmap(u64 linear);
