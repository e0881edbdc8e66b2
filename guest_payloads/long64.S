/* Trampoline for long64 (64-bit mode with 4-level paging, rings 0 to 3) and compat32 (compatibility mode: stimuli whose
   code segment is a 32-bit one, rings 0 and 3; the handlers are 64-bit code).

   The host enters at `entry` in 64-bit mode at ring 0 with CR3 = pml4.  The image then walks `table`.
   Selectors: 0x08 code, 0x10 data, 0x18 32-bit code, 0x20 user 32-bit code, 0x28 user data, 0x30 user code
   (in the order that SYSRET wants), 0x38 TSS, from 0x48 four spare descriptors for stimuli, 0x68 16-bit code,
   0x70 16-bit data, 0x78 and 0x80 the same for ring 3, 0x88 code and 0x90 data of ring 1, 0x98 code and 0xa0 data of
   ring 2.

   Memory is mapped one to one below 1 GiB, for the supervisor only except the user pages.
   `window` (virtual 512 GiB, its own PML4 entry) has tables of its own at every level, all empty: stimuli may
   write any of their entries without pulling the ground from under the walker. */

#include "table.h"

#define TSS_SELECTOR 0x38
#define DATA 0x10
#define CR4_OSXSAVE 0x40000
#define USER_FIRST 0x1c         /* pages of user_code to user_data: trampoline.ld */
#define USER_END 0x20

        .code64
        .section .text, "ax"
        .globl  entry
entry:  lgdt    gdtr
        lidt    idtr
        mov     $TSS_SELECTOR, %eax
        ltr     %ax
        mov     %cr0, %rax
        mov     %rax, base_cr0
        mov     %cr3, %rax
        mov     %rax, base_cr3
        mov     %cr4, %rax
        mov     %rax, base_cr4
        /* Touch every page, so that the delivery of an exception meets no second-level fault: how that goes is a rule
           of its own. */
        mov     $image, %edi
1:      orb     $0, (%rdi)
        add     $0x1000, %edi
        cmp     $table, %edi
        jb      1b
        movq    $table, current
        movl    $0, index

walk:   mov     $walker_stack_top, %esp
        cld
        mov     index, %eax
        cmp     count, %eax
        je      done
        or      $(EVENT_START << 24), %eax
        mov     $REPORT_PORT, %edx
        out     %eax, %dx
        mov     on_start, %ecx
        jrcxz   1f
        call    *%rcx

1:      mov     current, %rbx
        lea     STIM_CODE(%rbx), %rsi
        mov     STIM_CODE_ADDRESS(%rbx), %rdi
        mov     STIM_CODE_LENGTH(%rbx), %rcx
        rep movsb

        movl    $0, applied
        movl    $PHASE_SETUP, phase
        lea     STIM_SETS(%rbx), %rsi
        lea     OBS_OLD(%rbx), %rdi
1:      mov     applied, %eax
        cmp     STIM_SET_COUNT(%rbx), %eax
        je      2f
        mov     SET_VALUE(%rsi), %r8
        call    exchange
        mov     %r8, (%rdi)
        incl    applied
        add     $SET_SIZE, %rsi
        add     $8, %rdi
        jmp     1b
2:      mov     %cr3, %rax              # the sets may have changed page tables
        mov     %rax, %cr3

        pushq   STIM_SS(%rbx)
        pushq   STIM_GPR + 8 * 4(%rbx)
        pushq   STIM_RFLAGS(%rbx)
        pushq   STIM_CS(%rbx)
        pushq   STIM_RIP(%rbx)
        mov     STIM_DS(%rbx), %eax
        mov     %eax, %ds
        mov     %eax, %es
        movl    $PHASE_RUN, phase
        mov     STIM_GPR + 8 * 0(%rbx), %rax
        mov     STIM_GPR + 8 * 1(%rbx), %rcx
        mov     STIM_GPR + 8 * 2(%rbx), %rdx
        mov     STIM_GPR + 8 * 5(%rbx), %rbp
        mov     STIM_GPR + 8 * 6(%rbx), %rsi
        mov     STIM_GPR + 8 * 7(%rbx), %rdi
        mov     STIM_GPR + 8 * 8(%rbx), %r8
        mov     STIM_GPR + 8 * 9(%rbx), %r9
        mov     STIM_GPR + 8 * 10(%rbx), %r10
        mov     STIM_GPR + 8 * 11(%rbx), %r11
        mov     STIM_GPR + 8 * 12(%rbx), %r12
        mov     STIM_GPR + 8 * 13(%rbx), %r13
        mov     STIM_GPR + 8 * 14(%rbx), %r14
        mov     STIM_GPR + 8 * 15(%rbx), %r15
        mov     STIM_GPR + 8 * 3(%rbx), %rbx
        iretq

/* Write %r8 to what the set at %rsi names; return the old value in %r8.  Clobbers rax, rcx, rdx, r9, r10. */
exchange:
        mov     SET_KIND(%rsi), %eax
        mov     SET_INDEX(%rsi), %ecx
        mov     SET_ADDRESS(%rsi), %r10
        jmp     *exchanges(, %rax, 8)
x_mem8: xchg    %r8b, (%r10)
        ret
x_mem16:
        xchg    %r8w, (%r10)
        ret
x_mem64:
        xchg    %r8, (%r10)
        ret
x_mem32:
        xchg    %r8d, (%r10)
        ret
x_cr0:  mov     %cr0, %r9
        mov     %r8, %cr0
        jmp     x_old
x_cr3:  mov     %cr3, %r9
        mov     %r8, %cr3
        jmp     x_old
x_cr4:  mov     %cr4, %r9
        mov     %r8, %cr4
        jmp     x_old
x_msr:  rdmsr
        mov     %eax, %r9d
        shl     $32, %rdx
        or      %rdx, %r9
        mov     %r8d, %eax
        mov     %r8, %rdx
        shr     $32, %rdx
        wrmsr
        jmp     x_old
x_xcr:  mov     %cr4, %r10              # XCR0 can be reached with OSXSAVE only, and keeps its value without
        mov     %r10, %rax
        or      $CR4_OSXSAVE, %eax
        mov     %rax, %cr4
        xgetbv
        mov     %eax, %r9d
        shl     $32, %rdx
        or      %rdx, %r9
        mov     %r8d, %eax
        mov     %r8, %rdx
        shr     $32, %rdx
        xsetbv
        mov     %r10, %cr4
        jmp     x_old
x_dr:   jmp     *debug_registers(, %rcx, 8)
        .irp    n, 0, 1, 2, 3, 6, 7
x_dr\n: mov     %dr\n, %r9
        mov     %r8, %dr\n
        jmp     x_old
        .endr
x_old:  mov     %r9, %r8
        ret

/* Every vector enters here with: vector, error code (0 where the processor pushes none), then the frame. */
common: push    %rax
        mov     current, %rax
        mov     %rcx, OBS_GPR + 8 * 1(%rax)
        mov     %rdx, OBS_GPR + 8 * 2(%rax)
        mov     %rbx, OBS_GPR + 8 * 3(%rax)
        mov     %rbp, OBS_GPR + 8 * 5(%rax)
        mov     %rsi, OBS_GPR + 8 * 6(%rax)
        mov     %rdi, OBS_GPR + 8 * 7(%rax)
        mov     %r8, OBS_GPR + 8 * 8(%rax)
        mov     %r9, OBS_GPR + 8 * 9(%rax)
        mov     %r10, OBS_GPR + 8 * 10(%rax)
        mov     %r11, OBS_GPR + 8 * 11(%rax)
        mov     %r12, OBS_GPR + 8 * 12(%rax)
        mov     %r13, OBS_GPR + 8 * 13(%rax)
        mov     %r14, OBS_GPR + 8 * 14(%rax)
        mov     %r15, OBS_GPR + 8 * 15(%rax)
        pushfq
        popq    OBS_HANDLER_RFLAGS(%rax)
        mov     %rax, %rbx
        popq    OBS_GPR(%rbx)
        popq    OBS_VECTOR(%rbx)
        popq    OBS_ERROR_CODE(%rbx)
        mov     %rsp, OBS_FRAME(%rbx)
        popq    OBS_RIP(%rbx)
        popq    OBS_CS(%rbx)
        popq    OBS_RFLAGS(%rbx)
        mov     (%rsp), %rax
        mov     %rax, OBS_GPR + 8 * 4(%rbx)
        popq    OBS_RSP(%rbx)
        popq    OBS_SS(%rbx)
        xor     %eax, %eax
        mov     %cs, %eax
        mov     %rax, OBS_HANDLER_CS(%rbx)
        mov     %ss, %eax
        mov     %rax, OBS_HANDLER_SS(%rbx)

        mov     $walker_stack_top, %esp
        mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        cld
        mov     OBS_VECTOR(%rbx), %rcx
        mov     phase, %eax
        test    %eax, %eax              # PHASE_WALK: not the stimulus's doing
        jz      lost
        mov     %rax, OBS_PHASE(%rbx)
        movl    $PHASE_WALK, phase
        cmp     $14, %ecx
        jne     1f
        mov     %cr2, %rax
        mov     %rax, OBS_CR2(%rbx)
1:      cmp     $1, %ecx
        jne     2f
        mov     %dr6, %rax
        mov     %rax, OBS_DR6(%rbx)
        xor     %eax, %eax
        mov     %rax, %dr7
        mov     $0xffff0ff0, %eax
        mov     %rax, %dr6
2:      lea     STIM_PEEKS(%rbx), %rsi
        lea     OBS_PEEKED(%rbx), %rdi
        mov     STIM_PEEK_COUNT(%rbx), %ecx
3:      jrcxz   4f
        lodsq
        mov     (%rax), %rax
        stosq
        dec     %ecx
        jmp     3b

4:      lgdt    gdtr
        lidt    idtr
        mov     %cr0, %rax
        cmp     base_cr0, %rax
        je      5f
        mov     base_cr0, %rax
        mov     %rax, %cr0
5:      mov     %cr4, %rax
        cmp     base_cr4, %rax
        je      6f
        mov     base_cr4, %rax
        mov     %rax, %cr4
6:      mov     applied, %ebp           # undo in reverse
        imul    $SET_SIZE, %ebp, %esi
        lea     STIM_SETS(%rbx, %rsi), %rsi
        lea     OBS_OLD(%rbx, %rbp, 8), %rdi
7:      test    %ebp, %ebp
        jz      8f
        dec     %ebp
        sub     $SET_SIZE, %rsi
        sub     $8, %rdi
        mov     (%rdi), %r8
        call    exchange
        jmp     7b
8:      mov     base_cr3, %rax
        mov     %rax, %cr3
        movq    $1, OBS_ANSWERED(%rbx)
        add     $ENTRY_SIZE, %rbx
        mov     %rbx, current
        incl    index
        jmp     walk

lost:   mov     %ecx, %eax
        or      $(EVENT_FAULT << 24), %eax
        jmp     last
done:   or      $(EVENT_DONE << 24), %eax
last:   mov     $REPORT_PORT, %edx
        out     %eax, %dx
        mov     on_done, %ecx
        jrcxz   1f
        jmp     *%rcx
1:      cli
        hlt
        jmp     1b

        .balign 16
stubs:  .set    v, 0
        .rept   256
        .balign 16
        .ifeq   PUSHES_ERROR_CODE(v)
        pushq   $0
        .endif
        pushq   $v
        jmp     common
        .set    v, v + 1
        .endr

        .section .data, "aw"
        .balign 16
        .globl  idt, gdt, tss, io_bitmap, stubs, base_cr0, base_cr4
idt:    .set    v, 0
        .rept   256
        .word   stubs + 16 * v, 0x08
        .byte   (v == 2 || v == 8 || v == 18)             # IST1: these must survive a broken stack
        .byte   0x8e + 0x60 * (v == 3 || v == 4 || v == 0x80)
        .word   0
        .quad   0
        .set    v, v + 1
        .endr
idt_end:
gdt:    .quad   0
        .quad   0x00af9b000000ffff      # 08 code, 64-bit
        .quad   0x00cf93000000ffff      # 10 data
        .quad   0x00cf9b000000ffff      # 18 code, 32-bit
        .quad   0x00cffb000000ffff      # 20 user code, 32-bit
        .quad   0x00cff3000000ffff      # 28 user data
        .quad   0x00affb000000ffff      # 30 user code, 64-bit
        .word   tss_end - tss - 1, tss  # 38 TSS
        .byte   0, 0x89, 0, 0
        .quad   0
        .quad   0, 0, 0, 0              # 48 spare
        .quad   0x00009b000000ffff      # 68 code, 16-bit
        .quad   0x000093000000ffff      # 70 data, 16-bit
        .quad   0x0000fb000000ffff      # 78 user code, 16-bit
        .quad   0x0000f3000000ffff      # 80 user data, 16-bit
        .quad   0x00afbb000000ffff      # 88 ring 1 code, 64-bit
        .quad   0x00cfb3000000ffff      # 90 ring 1 data
        .quad   0x00afdb000000ffff      # 98 ring 2 code, 64-bit
        .quad   0x00cfd3000000ffff      # a0 ring 2 data
gdt_end:
gdtr:   .word   gdt_end - gdt - 1
        .quad   gdt
idtr:   .word   idt_end - idt - 1
        .quad   idt
        .balign 16
        .long   0                       # so that the TSS's quadwords are aligned
tss:    .long   0
        .quad   rsp0_top, rsp1_top, rsp2_top
        .quad   0
        .quad   ist1_top, ist2_top, 0, 0, 0, 0, 0
        .quad   0
        .word   0, io_bitmap - tss
io_bitmap:
        .fill   8193, 1, 0xff
tss_end:
        .balign 8
exchanges:
        .quad   x_mem8, x_mem16, x_mem64, x_cr0, x_cr3, x_cr4, x_msr, x_dr, x_xcr, x_mem32
debug_registers:
        .quad   x_dr0, x_dr1, x_dr2, x_dr3, lost, lost, x_dr6, x_dr7
        .globl  count, on_start, on_done
current:        .quad 0
base_cr0:       .quad 0
base_cr3:       .quad 0
base_cr4:       .quad 0
index:          .long 0
count:          .long 0                 # of entries in the table: written by the host
on_done:        .long 0                 # where to go at the end, or 0 to halt: written by who boots this without a host
on_start:       .long 0                 # called when an entry starts, if not 0; may clobber any register: written likewise
phase:          .long 0
applied:        .long 0

        .section .pages, "aw"
        .globl  pml4, pdpt, pd, pt, window_pdpt, window_pd, window_pt
pml4:   .quad   pdpt + 7, window_pdpt + 7
        .fill   510, 8, 0
pdpt:   .quad   pd + 7
        .fill   511, 8, 0
pd:     .quad   pt + 7
        .set    p, 1
        .rept   511
        .quad   (p << 21) | 0x83
        .set    p, p + 1
        .endr
pt:     .set    p, 0
        .rept   512
        .quad   (p << 12) | 3 | 4 * (p >= USER_FIRST && p < USER_END)
        .set    p, p + 1
        .endr
window_pdpt:
        .quad   window_pd + 7
        .fill   511, 8, 0
window_pd:
        .quad   window_pt + 7
        .fill   511, 8, 0
window_pt:
        .fill   512, 8, 0
