/* Is memory that nobody has written zero?

   Checks every 8 bytes outside the image, and then fills them, so that a guest that is given the same host memory
   next would notice.  Observations: how many words were checked; the first that was not zero and its address, or 0, 0. */

#include "program.inc"

        .set    MEMORY, 2 << 20         /* bytes: the case gives as much */
        .set    PATTERN, 0x5a5aa5a5

        PROGRAM
        xor     %r8d, %r8d              /* checked */
        xor     %r9d, %r9d              /* the first word that is not zero */
        xor     %r10d, %r10d            /* its address */
        xor     %edi, %edi
        mov     $image, %ecx
        call    check
        mov     $image_end, %edi
        mov     $(MEMORY), %ecx
        call    check
        OBSERVE %r8
        OBSERVE %r9
        OBSERVE %r10
        DONE

/* Check and fill from %rdi up to %rcx. */
check:  mov     %rcx, %rdx
        sub     %rdi, %rdx
        shr     $3, %rdx
        mov     %rdi, %rsi
        mov     %rdx, %rcx
        xor     %eax, %eax
        repe scasq
        je      1f
        mov     -8(%rdi), %rax
        test    %r9, %r9
        jnz     1f
        mov     %rax, %r9
        lea     -8(%rdi), %r10
1:      sub     %rcx, %rdx              /* those that were looked at */
        add     %rdx, %r8
        mov     %rsi, %rdi
        add     %rdx, %rcx
        mov     $PATTERN, %eax
        rep stosq
        ret
