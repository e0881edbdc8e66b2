/* Sends ">", then back what it receives; "q" ends it with status 3. */

#include "serial.h"

    .text
    .long   0x1BADB002, 0, -0x1BADB002
    .globl  _start
_start:
    mov     $'>', %al
    send
wait:
    mov     $0x3fd, %dx
    in      %dx, %al
    test    $1, %al
    jz      wait
    mov     $0x3f8, %dx
    in      %dx, %al
    cmp     $'q', %al
    je      quit
    send
    jmp     wait
quit:
    leave_with 3
