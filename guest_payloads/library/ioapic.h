/* The I/O APIC: an index register, a data register, and two registers for each of 24 lines.
   Intel 82093AA data sheet, "I/O Redirection Table Registers". */
#pragma once

#include "cpu.h"

enum { IOAPIC_REMOTE_IRR = 1 << 14, IOAPIC_LEVEL = 1 << 15, IOAPIC_MASKED = 1 << 16, IOAPIC_LINES = 24 };

u32 ioapic_read(u8 index);
void ioapic_write(u8 index, u32 value);
u32 ioapic_entry(unsigned line);         /* the lower half */
void ioapic_route(unsigned line, u32 entry, u8 destination);
