/* A program that holds many tests: argument 0 is the address of the one to run, `At("name")` in a case. */
#pragma once

#include "apic.h"
#include "interrupts.h"
#include "report.h"
#include "smp.h"

#define TEST(name) void name(void); __attribute__((used)) void name(void)

static inline void run_test(void)
{
    ((void (*)(void))arguments[0])();
}

/* Interrupts are taken here, all that can be: by a host that is slow to look for them, at the exit.  That they are taken
   at once is the rule of other cases. */
static inline void window(void)
{
    asm volatile("sti" ::: "memory");
    for (unsigned n = 0; n < 4; n++)
        host(0xff);                      /* no act */
    asm volatile("nop; cli" ::: "memory");
}

/* Wait for another processor; the host ends a program that waits for ever. */
static inline void await(const volatile unsigned *what, unsigned value)
{
    while (__atomic_load_n(what, __ATOMIC_ACQUIRE) < value)
        pause();
}

static inline void raise(volatile unsigned *what) { __atomic_add_fetch(what, 1, __ATOMIC_ACQ_REL); }
