/* A trampoline on a machine that has no monitor of ours and no firmware: this is the ROM that the processor is reset to.

   It copies everything to its place (`pieces`, which bare.py puts at the start of the ROM), tells what CPUID says, goes
   over to the mode's initial state (start.inc) and enters the trampoline, which calls `start_*` before each entry and
   goes to `done_*` at the end.  All that is told goes to port 0xe9, a debug console, as frames (bare.py). */

#include "table.h"
#include "start.inc"

#define DEBUG_CONSOLE 0xe9
#define FRAME_MAGIC 0x5056f5            /* f5 "VP", and the kind */
#define FRAME_RESET (FRAME_MAGIC | 'r' << 24)
#define FRAME_CPUID (FRAME_MAGIC | 'c' << 24)
#define FRAME_START (FRAME_MAGIC | 's' << 24)
#define FRAME_SEEN (FRAME_MAGIC | 'o' << 24)
#define FRAME_END (FRAME_MAGIC | 'z' << 24)
#define HEADER_SIZE 8
#define CPUID_SIZE 24
#define SEEN_SIZE (OBS_RESERVED - OBS_GPR)

#define PIC1_MASK 0x21
#define PIC2_MASK 0xa1
#define A20_PORT 0x92
#define MOST_LEAVES 0x40
#define VECTOR 0xfff0           /* the offset of the first instruction in the last 64 KiB */

        .section .vector, "ax"
        .code16
        .globl  entry
entry:  .byte   0xe9                    /* JMP, wrapping around at 64 KiB, which the linker would not have */
        .word   wake - rom + 0x10000 - (VECTOR + 3)
        .balign 16

        .section .rom, "ax"
rom:
wake:   cli
        lgdtl   %cs:(rom_gdtr - rom)
        mov     %cr0, %eax
        and     $0x9fffffff, %eax       /* caches on */
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $CODE, $1f
        .code32
1:      mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        cld
        mov     $0xff, %al              /* no interrupts from the PICs, whatever a stimulus does with IF */
        out     %al, $PIC1_MASK
        out     %al, $PIC2_MASK
        in      $A20_PORT, %al
        or      $2, %al
        and     $0xfe, %al
        out     %al, $A20_PORT
        fninit
        mov     $pieces, %esi
2:      lodsl
        mov     %eax, %edi
        lodsl
        mov     %eax, %ecx
        jecxz   3f
        rep movsb
        jmp     2b
3:      mov     $stack_top, %esp
        ljmp    $CODE, $identify        /* too far for a relative jump in 64-bit ELF */
        .balign 8
rom_gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      /* 08 CODE */
        .quad   0x00cf93000000ffff      /* 10 DATA */
rom_gdtr:
        .word   3 * 8 - 1
        .long   rom_gdt

        .section .text, "ax"
        .code32
identify:
        lgdt    start_flat_gdtr
        movl    $FRAME_RESET, frame
        movl    $0, frame + 4
        call    send_prot
        xor     %ebp, %ebp
1:      mov     %ebp, %eax              /* every leaf, with the sublevels 0 and 1 */
        xor     %ecx, %ecx
        call    show
        mov     %ebp, %eax
        mov     $1, %ecx
        call    show
        inc     %ebp
        mov     %ebp, %eax
        and     $0x80000000, %eax
        cpuid
        mov     %ebp, %ecx
        and     $0x7fffffff, %ecx
        cmp     $MOST_LEAVES, %ecx
        jae     2f
        cmp     %eax, %ebp
        jbe     1b
2:      test    %ebp, %ebp
        js      start_guest
        mov     $0x80000000, %ebp
        jmp     1b

show:   mov     %eax, leaf
        mov     %ecx, leaf + 4
        cpuid
        mov     %eax, leaf + 8
        mov     %ebx, leaf + 12
        mov     %ecx, leaf + 16
        mov     %edx, leaf + 20
        movl    $FRAME_CPUID, frame
        movl    $0, frame + 4
        call    send_prot
        mov     $leaf, %esi
        mov     $CPUID_SIZE, %ecx
        rep outsb
        ret

/* The same for handlers in 32-bit and in 64-bit code. */
        .macro  STREAM  name
        .globl  start_\name, done_\name
start_\name:
        call    seen_\name
        movl    $FRAME_START, frame
        mov     started, %eax
        mov     %eax, frame + 4
        incl    started
        jmp     send_\name

done_\name:                             /* the trampoline's last event in eax */
        mov     %eax, event
        call    seen_\name
        movl    $FRAME_END, frame
        mov     event, %eax
        mov     %eax, frame + 4
        call    send_\name
1:      cli
        hlt
        jmp     1b

seen_\name:                             /* the observation of the entry before this one */
        mov     started, %eax
        sub     $1, %eax
        jc      1f
        movl    $FRAME_SEEN, frame
        mov     %eax, frame + 4
        call    send_\name
        imul    $ENTRY_SIZE, frame + 4, %esi
        add     $entries + OBS_GPR, %esi
        mov     $SEEN_SIZE, %ecx
        rep outsb
1:      ret

send_\name:                             /* the frame's header; leaves the port in edx */
        cld
        mov     $DEBUG_CONSOLE, %edx
        mov     $frame, %esi
        mov     $HEADER_SIZE, %ecx
        rep outsb
        ret
        .endm

        STREAM  prot
        .code64
        STREAM  long

/* Copied to low memory: the same for real mode. */
        .section .low, "ax"
        .code16
        .globl  start_real16, done_real16
start_real16:
        call    seen_real16
        movl    $FRAME_START, frame16
        mov     started16, %eax
        mov     %eax, frame16 + 4
        incl    started16
        jmp     send_real16

done_real16:
        mov     %eax, event16
        call    seen_real16
        movl    $FRAME_END, frame16
        mov     event16, %eax
        mov     %eax, frame16 + 4
        call    send_real16
1:      cli
        hlt
        jmp     1b

seen_real16:
        mov     started16, %eax
        sub     $1, %eax
        jc      1f
        movl    $FRAME_SEEN, frame16
        mov     %eax, frame16 + 4
        call    send_real16
        imul    $(ENTRY_SIZE >> 4), frame16 + 4, %ax
        add     $entries_segment, %ax
        mov     %ax, %ds
        mov     $OBS_GPR, %si
        mov     $SEEN_SIZE, %cx
        rep outsb
        xor     %ax, %ax
        mov     %ax, %ds
1:      ret

send_real16:
        cld
        mov     $DEBUG_CONSOLE, %dx
        mov     $frame16, %si
        mov     $HEADER_SIZE, %cx
        rep outsb
        ret

        .balign 4
frame16:        .long 0, 0
started16:      .long 0
event16:        .long 0

        .section .data, "aw"
        .balign 8
frame:          .long 0, 0              /* magic and kind, argument */
started:        .long 0                 /* how many entries have */
event:          .long 0
leaf:           .long 0, 0, 0, 0, 0, 0  /* EAX and ECX of a CPUID, and what it returned */
        .balign 16
        .fill   256, 1, 0
stack_top:
