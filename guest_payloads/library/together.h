/* Tests in which all processors do the same at the same time.  Argument 1: how many processors; argument 2: how many rounds. */
#pragma once

#include "tests.h"

static volatile unsigned ready, finished, go;
static void (*work)(unsigned number);

static unsigned processors(void) { return arguments[1]; }
static u64 rounds(void) { return arguments[2]; }

static void run(unsigned number)
{
    raise(&ready);
    await(&go, 1);
    work(number);
    raise(&finished);
    for (;;)
        sti_hlt();
}

static void together(void (*what)(unsigned number))     /* every processor, this one as number 0 */
{
    work = what;
    apic_enable(0xff);
    smp_start(run);
    await(&ready, processors() - 1);
    go = 1;
    what(0);
    await(&finished, processors() - 1);
}
