/* Trampoline for real16: real-address mode.

   The host enters at `entry` with all segments 0.  The image lies at linear 0, because it brings the interrupt
   vector table with it, and walks `table` as long64.S does; FS holds the segment of the current entry.
   Sets of control registers, DRs and MSRs work; MEM sets reach the low 64 KiB. */

#include "table.h"

        .code16
        .section .ivt, "a"
        .set    v, 0
        .rept   256
        .word   stubs + 8 * v, 0
        .set    v, v + 1
        .endr

        .section .text, "ax"
        .globl  entry
entry:  movw    $table_segment, current
        movl    $0, index

walk:   xor     %ax, %ax
        mov     %ax, %ss
        mov     $walker_stack_top, %sp
        mov     %ax, %ds
        mov     %ax, %es
        cld
        mov     index, %eax
        cmp     count, %eax
        je      done
        or      $(EVENT_START << 24), %eax
        mov     $REPORT_PORT, %dx
        out     %eax, %dx
        mov     on_start, %cx
        jcxz    1f
        call    *%cx

1:      mov     current, %fs
        mov     $STIM_CODE, %si
        mov     %fs:STIM_CODE_ADDRESS, %edi
        mov     %fs:STIM_CODE_LENGTH, %ecx
        rep movsb %fs:(%si), %es:(%di)

        movw    $0, applied
        movb    $PHASE_SETUP, phase
        mov     $STIM_SETS, %si
        mov     $OBS_OLD, %di
1:      mov     applied, %ax
        cmp     %fs:STIM_SET_COUNT, %ax
        je      2f
        mov     %fs:SET_VALUE(%si), %eax
        mov     %fs:SET_VALUE + 4(%si), %edx
        call    exchange
        mov     %eax, %fs:(%di)
        mov     %edx, %fs:4(%di)
        incw    applied
        add     $SET_SIZE, %si
        add     $8, %di
        jmp     1b

2:      mov     %fs:STIM_SS, %ss
        mov     %fs:STIM_GPR + 8 * 4, %esp
        pushw   %fs:STIM_RFLAGS
        pushw   %fs:STIM_CS
        pushw   %fs:STIM_RIP
        movb    $PHASE_RUN, phase
        mov     %fs:STIM_GPR + 8 * 0, %eax
        mov     %fs:STIM_GPR + 8 * 1, %ecx
        mov     %fs:STIM_GPR + 8 * 2, %edx
        mov     %fs:STIM_GPR + 8 * 3, %ebx
        mov     %fs:STIM_GPR + 8 * 5, %ebp
        mov     %fs:STIM_GPR + 8 * 6, %esi
        mov     %fs:STIM_GPR + 8 * 7, %edi
        mov     %fs:STIM_DS, %es
        mov     %fs:STIM_DS, %ds
        iretw

/* Write %edx:%eax to what the set at %fs:%si names; return the old value in %edx:%eax.  Clobbers ecx, ebp. */
exchange:
        mov     %fs:SET_KIND(%si), %bx
        shl     $1, %bx
        mov     %fs:SET_ADDRESS(%si), %bp
        mov     %fs:SET_INDEX(%si), %ecx
        jmp     *exchanges(%bx)
x_mem8: xchg    %al, %ds:(%bp)
        ret
x_mem16:
        xchg    %ax, %ds:(%bp)
        ret
x_mem64:
        xchg    %eax, %ds:(%bp)
        xchg    %edx, %ds:4(%bp)
        ret
x_mem32:
        xchg    %eax, %ds:(%bp)
        ret
x_cr0:  mov     %cr0, %ecx
        mov     %eax, %cr0
        jmp     x_old
x_cr3:  mov     %cr3, %ecx
        mov     %eax, %cr3
        jmp     x_old
x_cr4:  mov     %cr4, %ecx
        mov     %eax, %cr4
        jmp     x_old
x_msr:  push    %edx
        push    %eax
        rdmsr
        mov     %sp, %bp
        xchg    %eax, (%bp)
        xchg    %edx, 4(%bp)
        wrmsr
        pop     %eax
        pop     %edx
        ret
x_xcr:  push    %edx
        push    %eax
        xgetbv
        mov     %sp, %bp
        xchg    %eax, (%bp)
        xchg    %edx, 4(%bp)
        xsetbv
        pop     %eax
        pop     %edx
        ret
x_dr:   mov     %cx, %bx
        shl     $1, %bx
        jmp     *debug_registers(%bx)
        .irp    n, 0, 1, 2, 3, 6, 7
x_dr\n: mov     %dr\n, %ecx
        mov     %eax, %dr\n
        jmp     x_old
        .endr
x_old:  mov     %ecx, %eax
        xor     %edx, %edx
        ret

/* Every vector enters here with its number pushed, above IP, CS and FLAGS; real mode has no error codes. */
common: push    %ds
        push    %eax
        mov     %cs, %ax                # 0: the segment the image was entered with
        mov     %ax, %ds
        popl    saved_eax
        popw    saved_ds
        mov     %fs, saved_fs
        mov     current, %fs
        mov     %ecx, %fs:OBS_GPR + 8 * 1
        mov     %edx, %fs:OBS_GPR + 8 * 2
        mov     %ebx, %fs:OBS_GPR + 8 * 3
        mov     %ebp, %fs:OBS_GPR + 8 * 5
        mov     %esi, %fs:OBS_GPR + 8 * 6
        mov     %edi, %fs:OBS_GPR + 8 * 7
        mov     saved_eax, %eax
        mov     %eax, %fs:OBS_GPR
        pushf
        popw    %fs:OBS_HANDLER_RFLAGS
        popw    %fs:OBS_VECTOR
        mov     %esp, %eax
        mov     %eax, %fs:OBS_FRAME
        popw    %fs:OBS_RIP
        popw    %fs:OBS_CS
        popw    %fs:OBS_RFLAGS
        mov     %esp, %eax
        mov     %eax, %fs:OBS_GPR + 8 * 4
        mov     %eax, %fs:OBS_RSP
        mov     %ss, %fs:OBS_SS
        mov     %ss, %fs:OBS_HANDLER_SS
        mov     %cs, %fs:OBS_HANDLER_CS

        xor     %ax, %ax
        mov     %ax, %ss
        mov     $walker_stack_top, %sp
        mov     %ax, %es
        mov     %ax, %gs
        cld
        mov     %fs:OBS_VECTOR, %ecx
        movzbl  phase, %eax
        test    %al, %al                # PHASE_WALK: not the stimulus's doing
        jz      lost
        mov     %eax, %fs:OBS_PHASE
        movb    $PHASE_WALK, phase
        cmp     $1, %cl
        jne     1f
        mov     %dr6, %eax
        mov     %eax, %fs:OBS_DR6
        xor     %eax, %eax
        mov     %eax, %dr7
        mov     $0xffff0ff0, %eax
        mov     %eax, %dr6
1:      mov     $STIM_PEEKS, %si
        mov     $OBS_PEEKED, %di
        mov     %fs:STIM_PEEK_COUNT, %cx
2:      jcxz    3f
        mov     %fs:(%si), %bp
        mov     %ds:(%bp), %eax
        mov     %eax, %fs:(%di)
        mov     %ds:4(%bp), %eax
        mov     %eax, %fs:4(%di)
        add     $8, %si
        add     $8, %di
        dec     %cx
        jmp     2b

3:      lidt    idtr
        imul    $SET_SIZE, applied, %si
        add     $STIM_SETS, %si
        mov     applied, %di
        shl     $3, %di
        add     $OBS_OLD, %di
4:      cmpw    $0, applied             # undo in reverse
        je      5f
        decw    applied
        sub     $SET_SIZE, %si
        sub     $8, %di
        mov     %fs:(%di), %eax
        mov     %fs:4(%di), %edx
        call    exchange
        jmp     4b
5:      movl    $1, %fs:OBS_ANSWERED
        addw    $ENTRY_SIZE >> 4, current
        incl    index
        jmp     walk

lost:   mov     %ecx, %eax
        or      $(EVENT_FAULT << 24), %eax
        jmp     last
done:   or      $(EVENT_DONE << 24), %eax
last:   mov     $REPORT_PORT, %dx
        out     %eax, %dx
        mov     on_done, %cx
        jcxz    1f
        jmp     *%cx
1:      cli
        hlt
        jmp     1b

        .balign 8
stubs:  .set    v, 0
        .rept   256
        .balign 8
        pushw   $v
        jmp     common
        .set    v, v + 1
        .endr

        .section .data, "aw"
        .balign 4
        .globl  count, on_start, on_done, stubs
idtr:   .word   256 * 4 - 1
        .long   0
        .balign 4
exchanges:
        .word   x_mem8, x_mem16, x_mem64, x_cr0, x_cr3, x_cr4, x_msr, x_dr, x_xcr, x_mem32
debug_registers:
        .word   x_dr0, x_dr1, x_dr2, x_dr3, lost, lost, x_dr6, x_dr7
        .balign 4
index:          .long 0
count:          .long 0                 # of entries in the table: written by the host
on_done:        .long 0                 # where to go at the end, or 0 to halt: written by who boots this without a host
on_start:       .long 0                 # called when an entry starts, if not 0; may clobber any register: written likewise
saved_eax:      .long 0
current:        .word 0                 # segment of the current entry
saved_ds:       .word 0
saved_fs:       .word 0
applied:        .word 0
phase:          .byte 0
