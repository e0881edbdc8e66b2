/* From long mode the whole way to real mode, and back up: ROUNDS times.

   Each round is 64-bit mode, compatibility mode, 32-bit protected mode without long mode, 16-bit protected mode, real
   mode with an interrupt by its vector table, and the same way back.  Observations: how often 32-bit code found EFER.LMA
   clear; how many interrupts real mode took; how often 64-bit code found EFER.LMA set. */

#include "program.inc"

        .set    ROUNDS, 3
        .set    EFER, 0xc0000080
        .set    LME, 1 << 8
        .set    LMA, 1 << 10
        .set    PE, 1
        .set    PG, 31                  /* a bit number */
        .set    VECTOR, 0x20
        .set    CODE64, 0x08
        .set    DATA, 0x10
        .set    CODE32, 0x18
        .set    CODE16, 0x20
        .set    DATA16, 0x28

        PROGRAM
        lgdt    gdtr
        movw    $on_vector, VECTOR * 4
        movw    $0, VECTOR * 4 + 2

down:   pushq   $CODE32
        pushq   $1f
        lretq

        .code32
1:      mov     %cr0, %eax
        btr     $PG, %eax
        mov     %eax, %cr0
        mov     $EFER, %ecx
        rdmsr
        and     $~LME, %eax
        wrmsr
        rdmsr
        test    $(LME | LMA), %eax
        jnz     2f
        incl    legacy
2:      ljmp    $CODE16, $3f

        .code16
3:      mov     $DATA16, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     %cr0, %eax
        and     $~PE, %al
        mov     %eax, %cr0
        ljmp    $0, $4f
4:      xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $stack_top, %sp
        lidt    real_idtr
        int     $VECTOR
        mov     %cr0, %eax
        or      $PE, %al
        mov     %eax, %cr0
        ljmpl   $CODE32, $up

on_vector:
        incw    interrupts
        iretw

        .code32
up:     mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_top, %esp
        mov     $EFER, %ecx
        rdmsr
        or      $LME, %eax
        wrmsr
        mov     %cr0, %eax
        bts     $PG, %eax
        mov     %eax, %cr0
        ljmp    $CODE64, $1f

        .code64
1:      lidt    program_idtr
        mov     $EFER, %ecx
        rdmsr
        test    $LMA, %eax
        jz      2f
        incl    active
2:      decl    left
        jnz     down
        mov     legacy, %eax
        OBSERVE %rax
        mov     interrupts, %eax
        OBSERVE %rax
        mov     active, %eax
        OBSERVE %rax
        DONE

        .section .data, "aw"
        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff      /* 08 64-bit code */
        .quad   0x00cf93000000ffff      /* 10 data */
        .quad   0x00cf9b000000ffff      /* 18 32-bit code */
        .quad   0x00009b000000ffff      /* 20 16-bit code */
        .quad   0x000093000000ffff      /* 28 16-bit data */
gdt_end:
gdtr:   .word   gdt_end - gdt - 1
        .quad   gdt
real_idtr:
        .word   0x3ff
        .long   0
        .balign 4
left:   .long   ROUNDS
legacy: .long   0
interrupts:
        .long   0
active: .long   0
