/* Sends "64" from a function, through a pointer above 1 MiB, and ends with status 3. */

#include "serial.h"

    .text
    .code64
    .globl  _start
_start:
    call    message
    mov     0xfffffff8, %eax        /* the map reaches up to 4 GiB */
    leave_with 3
message:
    movabs  $text, %rsi
    lodsb
    send
    lodsb
    send
    ret
    .data
text:
    .ascii  "64"
