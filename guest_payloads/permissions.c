/* Accesses to one linear address under every combination of page-table entries and control bits.

   Each combination brings the entries of the walk, from the top down, the control registers and the access; the entries
   go to their places, and what came of the access goes back into the combination: permissions.py has its fields.  Built
   for 32-bit and for 64-bit code; permissions.S has what C has no words for. */
#include "library/cpu.h"
#include "permissions.h"

#define MSR_PKRS 0x6e1
#define CR4_PKE (1u << 22)
#define CR4_PKS (1u << 24)
#define UD 6
#define PF 14
#define LDT 0x38

extern u64 arguments[ARGUMENTS];         /* the host's */
extern u64 gdt[];
extern u8 user_end[];

/* What touch() does, and what came of it. */
extern unsigned long touch_access, touch_linear, touch_flags;
extern unsigned long touch_vector, touch_error, touch_rip, touch_value;
void touch(void);

static void load_ldt(u64 base)
{
    gdt[LDT / 8] = 0x0000820000000fffull | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    gdt[LDT / 8 + 1] = base >> 32;
    asm volatile("lldt %w0" : : "r"(LDT));
}

static u64 efer;

/* Write what differs from the last time: each of these may come out to the monitor. */
static void control(const struct combination *c)
{
    static u64 pkrs;
    static u32 pkru;
    if (read_cr0() != c->cr0)
        write_cr0(c->cr0);
    if (read_cr4() != c->cr4)
        write_cr4(c->cr4);
    if (efer != c->efer)
        wrmsr(MSR_EFER, efer = c->efer);
    if (c->cr4 & CR4_PKE && pkru != c->pkru)
        asm volatile("wrpkru" : : "a"(pkru = c->pkru), "c"(0), "d"(0));
    if (c->cr4 & CR4_PKS && pkrs != c->pkrs)
        wrmsr(MSR_PKRS, pkrs = c->pkrs);
}

static void perform(struct combination *c)
{
    volatile u64 *cell = (u64 *)(unsigned long)arguments[CELL];
    volatile u64 *place[LEVELS];
    for (unsigned level = 0; level < LEVELS; level++) {
        place[level] = (u64 *)(unsigned long)arguments[PLACES + level];
        if (place[level])
            *place[level] = c->entries[level];
    }
    *cell = arguments[CONTENTS];
    control(c);
    write_cr3(read_cr3());
    touch_access = c->access;
    touch_flags = c->flags;
    touch();
    bool nothing = touch_vector == UD && touch_rip == (unsigned long)user_end;
    c->vector = nothing ? NOTHING : touch_vector;
    c->error_code = touch_error;
    c->cr2 = touch_vector == PF ? read_cr2() : 0;
    c->value = touch_value;
    c->cell = *cell;
    for (unsigned level = 0; level < LEVELS; level++)
        if (place[level])
            c->entries[level] = *place[level];
}

void walk_all(void)
{
    struct combination *first = (void *)COMBINATIONS, *end = first + arguments[COUNT];
    touch_linear = arguments[LINEAR];
    efer = rdmsr(MSR_EFER);
    if (arguments[LOCAL_TABLE])
        load_ldt(arguments[LOCAL_TABLE]);
    for (struct combination *c = first; c != end; c++)
        perform(c);
    if (arguments[CONSOLE])
        for (u8 *byte = (u8 *)first; byte != (u8 *)end; byte++)
            out8(arguments[CONSOLE], *byte);
}
