/* Sends its command line, then its first module in brackets.  Ends with status 3, or 1 where the magic is wrong. */

#include "serial.h"

    .section .note.Xen, "a", @note
    .long   4, 4, 18
    .asciz  "Xen"
    .long   entry

    .text
    .code32
    .globl  _start
_start:
    leave_with 2                    /* not the way in */
entry:
    cmpl    $0x336ec578, (%ebx)
    jne     bad_magic
    mov     24(%ebx), %esi          /* cmdline_paddr */
    test    %esi, %esi
    jz      modules
text:
    lodsb
    test    %al, %al
    jz      modules
    send
    jmp     text
modules:
    mov     $'[', %al
    send
    cmpl    $1, 12(%ebx)            /* nr_modules */
    jne     done
    mov     16(%ebx), %ecx          /* modlist_paddr */
    mov     (%ecx), %esi
    mov     8(%ecx), %edi
    add     %esi, %edi
bytes:
    cmp     %edi, %esi
    je      done
    lodsb
    send
    jmp     bytes
done:
    mov     $']', %al
    send
    leave_with 3
bad_magic:
    leave_with 1
