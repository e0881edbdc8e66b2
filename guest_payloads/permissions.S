/* What permissions.c has no words for: the start, the access itself at the ring it is made from, and exceptions.

   The host enters at `entry` at ring 0, in 32-bit protected mode with or without paging, or in 64-bit mode.  The image is
   mapped one to one, for the supervisor only but for two pages.
   Selectors: 0x08 code, 0x10 data, 0x18 user code, 0x20 user data, 0x28 TSS, 0x38 LDT. */

#include "permissions.h"
#include "table.h"

#ifdef __x86_64__
#define A       %rax
#define C       %rcx
#define D       %rdx
#define SP      %rsp
#define WORD    8
#define IRET    iretq
#define SIZED   .quad
#define CODE    0x00af9b000000ffff
#define USER    0x00affb000000ffff
        .code64
#else
#define A       %eax
#define C       %ecx
#define D       %edx
#define SP      %esp
#define WORD    4
#define IRET    iret
#define SIZED   .long
#define CODE    0x00cf9b000000ffff
#define USER    0x00cffb000000ffff
        .code32
#endif

#define DATA            0x10
#define USER_CODE       0x1b
#define USER_DATA       0x23
#define TSS             0x28

        .section .text, "ax"
        .globl  entry, touch
entry:  lgdt    gdtr
        lidt    idtr
        mov     $TSS, %eax
        ltr     %ax
        mov     $DATA, %eax
        mov     %eax, %ss
        mov     $stack_top, %esp
        mov     $USER_DATA, %eax        /* good at every ring, so IRET need not null them */
        mov     %eax, %ds
        mov     %eax, %es
        cld
        call    walk_all
        mov     $(EVENT_DONE << 24), %eax
last:   mov     $REPORT_PORT, %edx
        out     %eax, %dx
1:      cli
        hlt
        jmp     1b

/* Make the access; what stands in `resume` meanwhile is where the stack is afterwards. */
touch:  mov     SP, resume
        mov     touch_access, C
        mov     touch_linear, D
        mov     $STORED, %eax           /* its low half is a selector, too */
        test    $BY_USER, C
        jnz     1f
        mov     accesses(, C, WORD), C
        push    touch_flags
        popf
        jmp     *C
1:      mov     accesses(, C, WORD), C
        push    $USER_DATA
        push    $user_stack_top
        push    touch_flags
        push    $USER_CODE
        push    C
        IRET

        .macro  ACCESSES name
\name\()_read:
        mov     (D), %eax
        jmp     \name\()_end
\name\()_write:
        mov     %eax, (D)
        jmp     \name\()_end
\name\()_fetch:
        call    *D
        jmp     \name\()_end
\name\()_segment:                       /* the processor reads the descriptor */
        mov     %eax, %gs
        jmp     \name\()_end
        .endm

        ACCESSES supervisor
supervisor_end:
        mov     $NOTHING, %ecx
        mov     C, touch_vector
        movl    $0, touch_error
finish: mov     A, touch_value
        push    $2
        popf
        xor     %eax, %eax
        mov     A, resume
        mov     %eax, %gs
        ret

/* On the stack: vector, error code, and the frame. */
caught: cmpl    $0, resume
        je      lost
        pop     touch_vector
        pop     touch_error
        pop     touch_rip
        mov     resume, SP
        jmp     finish

lost:   pop     A                       /* not the access's doing */
        or      $(EVENT_FAULT << 24), %eax
        jmp     last

        .balign 16
stubs:  .set    v, 0
        .rept   32
        .balign 16
        .ifeq   PUSHES_ERROR_CODE(v)
        push    $0
        .endif
        push    $v
        jmp     caught
        .set    v, v + 1
        .endr

        .section .user, "ax"            /* pages of ring 3 */
        .globl  user_end
        ACCESSES user
user_end:
        ud2

        .section .data, "aw"
        .balign 16
idt:    .set    v, 0
        .rept   32
        .word   stubs + 16 * v, 0x08
        .byte   0, 0x8e
        .word   0
#ifdef __x86_64__
        .quad   0
#endif
        .set    v, v + 1
        .endr
idt_end:
        .balign 16
        .globl  gdt
gdt:    .quad   0
        .quad   CODE                    /* 08 */
        .quad   0x00cf93000000ffff      /* 10 */
        .quad   USER                    /* 18 */
        .quad   0x00cff3000000ffff      /* 20 */
        .word   tss_end - tss - 1, tss  /* 28 */
        .byte   0, 0x89, 0, 0
        .quad   0
        .quad   0, 0                    /* 38 */
gdt_end:
gdtr:   .word   gdt_end - gdt - 1
        SIZED   gdt
idtr:   .word   idt_end - idt - 1
        SIZED   idt
        .balign 16
tss:    .long   0
#ifdef __x86_64__
        .quad   rsp0_top
        .fill   92, 1, 0
#else
        .long   rsp0_top, DATA
        .fill   92, 1, 0
#endif
tss_end:
        .balign 8
accesses:
        SIZED   supervisor_read, supervisor_write, supervisor_fetch, supervisor_segment
        SIZED   user_read, user_write, user_fetch, user_segment
        .globl  arguments, touch_access, touch_linear, touch_flags, touch_vector, touch_error, touch_rip, touch_value
arguments:
        .fill   ARGUMENTS, 8, 0
resume:         SIZED 0
touch_access:   SIZED 0
touch_linear:   SIZED 0
touch_flags:    SIZED 0
touch_vector:   SIZED 0
touch_error:    SIZED 0
touch_rip:      SIZED 0
touch_value:    SIZED 0
