/* Counts in memory: "again" calls "count" until "total" is 5, then ends with status 3.  Link it anywhere. */

#include "serial.h"

    .text
    .code64
    .globl  _start, again, count, total
_start:
    xor     %ebx, %ebx
again:
    call    count
    cmp     $5, %ebx
    jne     again
    leave_with 3
count:
    inc     %ebx
    mov     %ebx, total
    ret
    .data
total:
    .long   0
