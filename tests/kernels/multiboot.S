/* Sends its command line, then its module in brackets, then the end of RAM by the memory map as hexadecimal digits.
   Ends with status 3 when everything is as Multiboot has it, with 1 (bad magic) or 2 (bad flags) when not. */

#include "serial.h"

    .text
    .long   0x1BADB002, 3, -(0x1BADB002 + 3)

    .globl  _start
_start:
    cmp     $0x2BADB002, %eax
    jne     bad_magic
    mov     (%ebx), %eax
    and     $0x24d, %eax
    cmp     $0x24d, %eax
    jne     bad_flags

    mov     16(%ebx), %esi          /* cmdline */
text:
    lodsb
    test    %al, %al
    jz      modules
    send
    jmp     text

modules:
    mov     $'[', %al
    send
    cmpl    $1, 20(%ebx)            /* mods_count */
    jne     map
    mov     24(%ebx), %ecx          /* mods_addr */
    mov     (%ecx), %esi
    mov     4(%ecx), %edi
bytes:
    cmp     %edi, %esi
    je      map
    lodsb
    send
    jmp     bytes

map:
    mov     $']', %al
    send
    mov     48(%ebx), %esi          /* mmap_addr */
    mov     44(%ebx), %edi          /* mmap_length */
    add     %esi, %edi
    xor     %ebp, %ebp
row:
    cmp     %edi, %esi
    jae     digits
    cmpl    $1, 20(%esi)            /* RAM */
    jne     next
    mov     4(%esi), %ebp
    add     12(%esi), %ebp          /* below 4 GiB in these tests */
next:
    add     (%esi), %esi
    add     $4, %esi
    jmp     row
digits:
    mov     $8, %ecx
digit:
    rol     $4, %ebp
    mov     %ebp, %eax
    and     $15, %eax
    mov     hexadecimal(%eax), %al
    send
    loop    digit
    leave_with 3

bad_magic:
    leave_with 1
bad_flags:
    leave_with 2

hexadecimal:
    .ascii  "0123456789abcdef"
