/* A case that boots by itself: what virtproof's monitor does for a trampoline, done by code on the machine under test.

   A multiboot loader enters at `entry` in 32-bit protected mode.  The code tells what will be tested, puts everything in
   its place (`pieces`), goes over to the mode's initial state (start.inc) and enters the trampoline, which comes back
   through its variable `on_done` to one of the `from_*`.  Then it judges the observation field by field (`checks`),
   says PASS or FAIL, and leaves: exit code 0 for PASS, 1 for FAIL, 2 where the processor lacks what the case needs.

   It speaks on COM1 and on port 0xe9 (a debug console), and leaves through port 0xf4 (isa-debug-exit); where nobody
   listens there it halts.  reproducer.py fills in the variables from `name` on. */

#include "table.h"
#include "start.inc"

#define MULTIBOOT_MAGIC 0x1badb002
#define COM1 0x3f8
#define DEBUG_CONSOLE 0xe9
#define DEBUG_EXIT 0xf4
#define PASSED 0
#define FAILED 1
#define LACKING 2
#define CR0_PG 0x80000000

/* Rows of the tables that reproducer.py makes; each table ends with a row of zeros. */
#define PIECE_TO 0
#define PIECE_LENGTH 4
#define PIECE_FROM 8            /* 0: zeros */
#define PIECE_SIZE 12
#define FEATURE_NAME 0
#define FEATURE_LEAF 4
#define FEATURE_SUBLEAF 8
#define FEATURE_REGISTER 12     /* eax, ebx, ecx, edx */
#define FEATURE_MASK 16
#define FEATURE_SIZE 20
#define CHECK_NAME 0
#define CHECK_ADDRESS 4
#define CHECK_MASK 8
#define CHECK_WANT 16
#define CHECK_SIZE 24

        .code32
        .section .text, "ax"
        .balign 4
        .long   MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC
        .globl  entry
entry:  cli
        cld
        lgdt    start_flat_gdtr
        ljmp    $CODE, $1f
1:      mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_top, %esp
        mov     $0xff, %al              /* no interrupts from the PICs, whatever a stimulus does with IF */
        out     %al, $0x21
        out     %al, $0xa1
        fninit
        call    open_com1
        mov     heading, %esi
        call    print

        mov     features, %ebp
2:      cmpl    $0, FEATURE_NAME(%ebp)
        je      4f
        mov     FEATURE_LEAF(%ebp), %eax
        and     $0x80000000, %eax
        cpuid
        cmp     FEATURE_LEAF(%ebp), %eax
        jb      3f
        mov     FEATURE_LEAF(%ebp), %eax
        mov     FEATURE_SUBLEAF(%ebp), %ecx
        cpuid
        push    %edx
        push    %ecx
        push    %ebx
        push    %eax
        mov     FEATURE_REGISTER(%ebp), %ecx
        mov     (%esp, %ecx, 4), %eax
        add     $16, %esp
        add     $FEATURE_SIZE, %ebp
        test    FEATURE_MASK - FEATURE_SIZE(%ebp), %eax
        jnz     2b
        sub     $FEATURE_SIZE, %ebp
3:      mov     $says_lacking, %esi
        call    print
        mov     FEATURE_NAME(%ebp), %esi
        call    print
        call    newline
        mov     $LACKING, %eax
        jmp     leave

4:      mov     $says_running, %esi
        call    print
        mov     pieces, %ebx
5:      mov     PIECE_LENGTH(%ebx), %ecx
        jecxz   7f
        mov     PIECE_TO(%ebx), %edi
        mov     PIECE_FROM(%ebx), %esi
        add     $PIECE_SIZE, %ebx
        test    %esi, %esi
        jz      6f
        rep movsb
        jmp     5b
6:      xor     %eax, %eax
        rep stosb
        jmp     5b

7:      jmp     start_guest

        .globl  from32, from64, report
        .code64
from64: mov     %eax, %ebx
        lgdt    start_flat_gdtr
        pushq   $CODE
        pushq   $report
        lretq
        .code32
from32: mov     %eax, %ebx
        lgdt    start_flat_gdtr
        ljmp    $CODE, $report

report:                                 /* the trampoline's last event in ebx */
        mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %cr0, %eax
        and     $~CR0_PG, %eax
        mov     %eax, %cr0
        mov     $stack_top, %esp
        cld
        mov     %ebx, event
        call    open_com1
        mov     checks, %ebp
        mov     $PASSED, %edi
1:      cmpl    $0, CHECK_NAME(%ebp)
        je      4f
        mov     CHECK_ADDRESS(%ebp), %esi
        mov     (%esi), %eax
        mov     4(%esi), %edx
        and     CHECK_MASK(%ebp), %eax
        and     CHECK_MASK + 4(%ebp), %edx
        push    %edx
        push    %eax
        mov     $says_good, %esi
        cmp     CHECK_WANT(%ebp), %eax
        jne     2f
        cmp     CHECK_WANT + 4(%ebp), %edx
        je      3f
2:      mov     $says_wrong, %esi
        mov     $FAILED, %edi
3:      call    print
        mov     CHECK_NAME(%ebp), %esi
        call    print
        mov     $says_expected, %esi
        call    print
        mov     CHECK_WANT(%ebp), %eax
        mov     CHECK_WANT + 4(%ebp), %edx
        call    print_number
        mov     $says_observed, %esi
        call    print
        pop     %eax
        pop     %edx
        call    print_number
        call    newline
        add     $CHECK_SIZE, %ebp
        jmp     1b
4:      mov     $says_pass, %esi
        test    %edi, %edi
        jz      5f
        mov     $says_fail, %esi
5:      call    print
        mov     name, %esi
        call    print
        call    newline
        mov     %edi, %eax
leave:  mov     $DEBUG_EXIT, %edx
        out     %eax, %dx
1:      cli
        hlt
        jmp     1b

/* Print the text at esi, which a zero ends.  Clobbers eax, ecx, edx, esi. */
print:  lodsb
        test    %al, %al
        jz      1f
        call    print_byte
        jmp     print
1:      ret

newline:
        mov     $'\n', %al
/* Print al.  Clobbers eax, ecx, edx. */
print_byte:
        mov     $DEBUG_CONSOLE, %edx
        out     %al, %dx
        cmp     $'\n', %al
        jne     1f
        mov     $'\r', %al              /* a terminal wants it, a debug console does not */
        call    1f
        mov     $'\n', %al
1:      mov     %al, %ah
        mov     $COM1 + 5, %edx
        mov     $0x10000, %ecx          /* a port that is never ready shall not hold us up for ever */
2:      in      %dx, %al
        test    $0x20, %al
        loopz   2b
        mov     %ah, %al
        mov     $COM1, %edx
        out     %al, %dx
        ret

/* Print edx:eax in hexadecimal.  Clobbers eax, ebx, ecx, edx, esi. */
print_number:
        push    %edi
        mov     %eax, %ebx
        mov     %edx, %edi
        mov     $says_0x, %esi
        call    print
        mov     $16, %esi               /* digits to come */
        test    %edi, %edi
        jnz     1f
        mov     %ebx, %edi
        mov     $8, %esi
1:      test    $0xf0000000, %edi       /* no leading zeros, but one digit at least */
        jnz     2f
        shld    $4, %ebx, %edi
        shl     $4, %ebx
        dec     %esi
        cmp     $1, %esi
        ja      1b
2:      mov     %edi, %eax
        shr     $28, %eax
        mov     digits(%eax), %al
        call    print_byte
        shld    $4, %ebx, %edi
        shl     $4, %ebx
        dec     %esi
        jnz     2b
        pop     %edi
        ret

/* 115200 baud, 8 data bits, no parity, no interrupts.  Clobbers eax, edx. */
open_com1:
        mov     $com1_setup, %esi
1:      movzwl  (%esi), %eax
        test    %eax, %eax
        jz      2f
        movzbl  %ah, %edx
        add     $COM1, %edx
        sub     $1, %edx
        out     %al, %dx
        add     $2, %esi
        jmp     1b
2:      ret

/* Copied to low memory: what real mode must reach. */
        .section .low, "ax"
        .globl  from16
        .code16
from16: mov     %eax, %ebx              # from real mode, or from 16-bit protected mode with flat segments
        lgdtl   low_gdtr
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $CODE, $report

low_gdtr:
        .word   start_flat_end - start_flat - 1
        .long   start_flat

        .section .data, "aw"
        .balign 8
com1_setup:                             /* value, register + 1: ends with a zero */
        .byte   0x80, 4,  0x01, 1,  0x00, 2,  0x03, 4,  0x00, 2,  0x01, 3,  0x03, 5,  0, 0
digits: .ascii  "0123456789abcdef"
says_lacking:   .asciz "SKIP: the processor has no "
says_running:   .asciz "running: a machine that says no more has failed\n"
says_good:      .asciz "  ok    "
says_wrong:     .asciz "  WRONG "
says_expected:  .asciz "  expected "
says_observed:  .asciz ", observed "
says_pass:      .asciz "PASS "
says_fail:      .asciz "FAIL "
says_0x:        .asciz "0x"

        .balign 8
        .globl  event
        .globl  name, heading, features, pieces, checks
event:          .quad 0                 /* what the trampoline ended with */
name:           .long 0                 /* addresses of texts and tables */
heading:        .long 0
features:       .long 0
pieces:         .long 0
checks:         .long 0
        .balign 16
        .fill   1024, 1, 0
stack_top:
