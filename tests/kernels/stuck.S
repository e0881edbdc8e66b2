/* Sends "." and runs on for ever, or, as the command line says by its last letter: "t" faults three times. */

#include "serial.h"

    .text
    .long   0x1BADB002, 0, -0x1BADB002
    .globl  _start
_start:
    mov     $'.', %al
    send
    mov     16(%ebx), %esi
last:
    mov     %al, %ah
    lodsb
    test    %al, %al
    jnz     last
    cmp     $'t', %ah
    je      triple_fault
    jmp     .
triple_fault:
    mov     $0x9000, %esp
    push    $0
    push    $0
    lidt    (%esp)                  /* no vector has a gate */
    ud2
