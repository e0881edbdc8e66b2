#include "pic.h"
#include "apic.h"

#define CASCADE 2                        /* the line of the master at which the slave is */

void pic_start(u16 chip, u8 vectors, u8 cascade, u8 mask)
{
    out8(chip, 0x11);
    out8(chip + 1, vectors);
    out8(chip + 1, cascade);
    out8(chip + 1, 1);
    out8(chip + 1, mask);
}

void pic_open(u8 vectors, u16 lines, u16 level)
{
    apic_write(APIC_LVT_LINT0, LINT_EXTINT);
    if (lines >> 8)
        lines |= 1 << CASCADE;
    pic_start(PIC_MASTER, vectors, 1 << CASCADE, ~lines);
    pic_start(PIC_SLAVE, vectors + 8, CASCADE, ~lines >> 8);
    out8(PIC_ELCR, level);
    out8(PIC_ELCR + 1, level >> 8);
}
