/* Both 8259s as PCs have them, and the way from there to the processor.  Intel 8259A data sheet, "Programming the 8259A";
   Intel 82371FB/82371SB (PIIX), "Edge/Level Triggered". */
#pragma once

#include "cpu.h"

enum { PIC_MASTER = 0x20, PIC_SLAVE = 0xa0, PIC_ELCR = 0x4d0 };
enum { LINT_EXTINT = 0x700 };            /* of LVT LINT0: the vector comes from the 8259 */

void pic_start(u16 chip, u8 vectors, u8 cascade, u8 mask);  /* ICW1 to ICW4: edges, cascaded, 8086 mode; then the mask */
/* Both, with `lines` open, those in `level` level-triggered; `apic_enable` comes before. */
void pic_open(u8 vectors, u16 lines, u16 level);
