/* Every vector: save the registers, call interrupt(struct frame *), go on where it left. */

#include "table.h"

        .code64
        .section .text, "ax"
        .balign 16
        .globl  vectors
vectors:
        .set    v, 0
        .rept   256
        .balign 16
        .ifeq   PUSHES_ERROR_CODE(v)
        pushq   $0
        .endif
        pushq   $v
        jmp     common
        .set    v, v + 1
        .endr

common: push    %rax
        push    %rcx
        push    %rdx
        push    %rbx
        push    %rbp
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        cld
        mov     %rsp, %rdi
        mov     %rsp, %rbp
        and     $-16, %rsp
        call    interrupt
        mov     %rbp, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rbp
        pop     %rbx
        pop     %rdx
        pop     %rcx
        pop     %rax
        add     $16, %rsp
        iretq
