/* A boot sector: sends "16" and ends with status 3. */

#include "serial.h"

    .code16
    .globl  _start
_start:
    mov     $text, %si
    lodsb
    send
    lodsb
    send
    leave_with 3
text:
    .ascii  "16"
    .org    510
    .byte   0x55, 0xaa
