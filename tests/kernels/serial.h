/* For kernels in 16-, 32- and 64-bit code: one character, and the end. */

    .macro send                     /* AL to COM1 */
    mov     $0x3f8, %dx
    out     %al, %dx
    .endm

    .macro leave_with status        /* to isa-debug-exit; the host sees (status << 1 | 1) */
    mov     $\status, %al
    out     %al, $0xf4
1:  hlt
    jmp     1b
    .endm
