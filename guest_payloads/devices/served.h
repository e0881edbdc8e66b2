/* What requests to a disk cost: reads of one size, so many at a time, the processor halted until they are back.
   Each sector of the disk begins with its number.  A driver defines what is declared here without a body. */
#pragma once

#include "../library/tests.h"

#define SECTOR 512
#define SERVE_ROOM 0x10000               /* bytes of the largest read; 16 at a time from 3 MiB on */

static void serve_begin(void);           /* all is set up, and completions interrupt */
static void serve_queue(unsigned n, u32 sector, u32 bytes, u8 *at);   /* as the n-th of those at a time */
static unsigned serve_finish(unsigned count);    /* show them to the controller, halt until all are back: how many went well */

static u32 pseudo_random(u32 *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 8;
}

static u32 number_at(const u8 *at) { return *(const volatile u32 *)at; }

/* Argument 1: reads; 2: at a time; 3: bytes of one; 4: sectors of the disk; 5: all over it, or one behind the other.
   How many brought what they should. */
TEST(served)
{
    u8 *const buffers = (u8 *)0x300000;
    u32 bytes = arguments[3], length = bytes / SECTOR, places = arguments[4] / length, next = 0, state = 1, first[16];
    unsigned right = 0, at_once = arguments[2];
    serve_begin();
    host(0);
    for (unsigned done = 0; done < arguments[1]; done += at_once) {
        for (unsigned n = 0; n < at_once; n++) {
            first[n] = (arguments[5] ? pseudo_random(&state) : next++) % places * length;
            serve_queue(n, first[n], bytes, buffers + n * SERVE_ROOM);
        }
        bool all = serve_finish(at_once) == at_once;
        for (unsigned n = 0; n < at_once; n++) {
            const u8 *at = buffers + n * SERVE_ROOM;
            right += all && number_at(at) == first[n] && number_at(at + bytes - SECTOR) == first[n] + length - 1;
        }
    }
    host(1);
    observe(right);
}
