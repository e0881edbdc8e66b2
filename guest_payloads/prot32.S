/* Trampoline for the modes whose handlers are 32-bit code:

     prot32   flat protected mode without paging, rings 0 to 3
     pae32    the same with PAE paging (-DPAE)
     pse32    the same with two-level paging and 4 MiB pages (-DPSE)
     prot16   16-bit segments of 64 KiB, rings 0 and 3; handlers and TSS are 32-bit ones
     vm86     virtual-8086 mode: stimuli that have EFLAGS.VM set

   The last two are prot32 with everything that stimuli touch in the first 64 KiB (low.ld).

   The host enters at `entry` in flat 32-bit protected mode at ring 0; with paging on, and CR3 = pdpt or pd, where the
   mode pages.  The image then walks `table`, as long64.S does.  Only the low halves of the table's fields are used.
   Selectors: 0x08 code, 0x10 data, 0x20 user code, 0x28 user data, 0x38 TSS, from 0x48 four spare descriptors,
   0x68 16-bit code, 0x70 16-bit data, 0x78 and 0x80 the same for ring 3, 0x88 code and 0x90 data of ring 1,
   0x98 code and 0xa0 data of ring 2.

   pae32 and pse32 map memory one to one below 1 GiB, for the supervisor only except the user pages.  `window` (linear
   1 GiB) has entries of its own in a page directory, and a page table, for stimuli. */

#include "table.h"

#define TSS_SELECTOR 0x38
#define DATA 0x10
#define CR4_OSXSAVE 0x40000
#define USER_FIRST 0x1c         /* pages of user_code to user_data: trampoline.ld */
#define USER_END 0x20
#define RFLAGS_TF 0x100
#define RFLAGS_RF 0x10000
#define RFLAGS_VM 0x20000

/* The stimulus's registers, from its entry at ebx; its DS and ES from `segment`.  DS goes last but one, for the
   stimulus's may not reach the table; CS does. */
        .macro  LOAD
        movl    $PHASE_RUN, phase
        mov     STIM_GPR + 8 * 0(%ebx), %eax
        mov     STIM_GPR + 8 * 1(%ebx), %ecx
        mov     STIM_GPR + 8 * 2(%ebx), %edx
        mov     STIM_GPR + 8 * 5(%ebx), %ebp
        mov     STIM_GPR + 8 * 6(%ebx), %esi
        mov     STIM_GPR + 8 * 7(%ebx), %edi
        mov     segment, %es
        mov     segment, %ds
        mov     %cs:STIM_GPR + 8 * 3(%ebx), %ebx
        .endm

        .code32
        .section .text, "ax"
        .globl  entry
entry:  lgdt    gdtr
        lidt    idtr
        mov     $TSS_SELECTOR, %eax
        ltr     %ax
        mov     %cr0, %eax
        mov     %eax, base_cr0
        mov     %cr3, %eax
        mov     %eax, base_cr3
        mov     %cr4, %eax
        mov     %eax, base_cr4
        /* Touch every page, so that the delivery of an exception meets no second-level fault: how that goes is a rule
           of its own. */
        mov     $image, %edi
1:      orb     $0, (%edi)
        add     $0x1000, %edi
        cmp     $table, %edi
        jb      1b
        movl    $table, current
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
        jecxz   1f
        call    *%ecx

1:      mov     current, %ebx
        lea     STIM_CODE(%ebx), %esi
        mov     STIM_CODE_ADDRESS(%ebx), %edi
        mov     STIM_CODE_LENGTH(%ebx), %ecx
        rep movsb

        movl    $0, applied
        movl    $PHASE_SETUP, phase
        lea     STIM_SETS(%ebx), %esi
        lea     OBS_OLD(%ebx), %edi
1:      mov     applied, %eax
        cmp     STIM_SET_COUNT(%ebx), %eax
        je      2f
        mov     SET_VALUE(%esi), %eax
        mov     SET_VALUE + 4(%esi), %edx
        call    exchange
        mov     %eax, (%edi)
        mov     %edx, 4(%edi)
        incl    applied
        add     $SET_SIZE, %esi
        add     $8, %edi
        jmp     1b
2:      mov     %cr3, %eax              /* the sets may have changed page tables */
        mov     %eax, %cr3

        mov     STIM_DS(%ebx), %eax
        testl   $RFLAGS_VM, STIM_RFLAGS(%ebx)
        jnz     5f
        mov     %eax, segment
        testb   $3, STIM_CS(%ebx)
        jnz     6f
        mov     STIM_SS(%ebx), %ss              /* a return to the same level leaves the stack alone */
        mov     STIM_GPR + 8 * 4(%ebx), %esp
        testl   $(RFLAGS_TF | RFLAGS_RF), STIM_RFLAGS(%ebx)
        jnz     7f
        /* Without IRET where it can be done without: a host with a broken IRET shall fail the cases about IRET,
           not all of them. */
        pushl   STIM_CS(%ebx)
        pushl   STIM_RIP(%ebx)
        pushl   STIM_RFLAGS(%ebx)
        LOAD
        popf
        lret
5:      movl    $DATA, segment          /* until IRET loads the segments of virtual-8086 mode */
        pushl   $0                      /* GS */
        pushl   $0                      /* FS */
        push    %eax                    /* DS */
        push    %eax                    /* ES */
6:      pushl   STIM_SS(%ebx)
        pushl   STIM_GPR + 8 * 4(%ebx)
7:      pushl   STIM_RFLAGS(%ebx)
        pushl   STIM_CS(%ebx)
        pushl   STIM_RIP(%ebx)
        LOAD
        iret

/* Write %edx:%eax to what the set at %esi names; return the old value in %edx:%eax.  Clobbers ecx, ebp. */
exchange:
        mov     SET_KIND(%esi), %ecx
        mov     SET_ADDRESS(%esi), %ebp
        jmp     *exchanges(, %ecx, 4)
x_mem8: xchg    %al, (%ebp)
        ret
x_mem16:
        xchg    %ax, (%ebp)
        ret
x_mem64:
        xchg    %eax, (%ebp)
        xchg    %edx, 4(%ebp)
        ret
x_mem32:
        xchg    %eax, (%ebp)
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
        mov     SET_INDEX(%esi), %ecx
        rdmsr
        xchg    %eax, (%esp)
        xchg    %edx, 4(%esp)
        wrmsr
        pop     %eax
        pop     %edx
        ret
x_xcr:  push    %edx
        push    %eax
        mov     SET_INDEX(%esi), %ecx
        mov     %cr4, %ebp              /* as in long64.S */
        mov     %ebp, %eax
        or      $CR4_OSXSAVE, %eax
        mov     %eax, %cr4
        xgetbv
        xchg    %eax, (%esp)
        xchg    %edx, 4(%esp)
        xsetbv
        mov     %ebp, %cr4
        pop     %eax
        pop     %edx
        ret
x_dr:   mov     SET_INDEX(%esi), %ecx
        jmp     *debug_registers(, %ecx, 4)
        .irp    n, 0, 1, 2, 3, 6, 7
x_dr\n: mov     %dr\n, %ecx
        mov     %eax, %dr\n
        jmp     x_old
        .endr
x_old:  mov     %ecx, %eax
        xor     %edx, %edx
        ret

/* Every vector enters here with: vector, error code (0 where the processor pushes none), then the frame. */
common: push    %eax
        mov     $DATA, %eax             /* a stimulus may have loaded any DS */
        mov     %eax, %ds
        mov     %eax, %es
        mov     current, %eax
        mov     %ecx, OBS_GPR + 8 * 1(%eax)
        mov     %edx, OBS_GPR + 8 * 2(%eax)
        mov     %ebx, OBS_GPR + 8 * 3(%eax)
        mov     %ebp, OBS_GPR + 8 * 5(%eax)
        mov     %esi, OBS_GPR + 8 * 6(%eax)
        mov     %edi, OBS_GPR + 8 * 7(%eax)
        pushf
        popl    OBS_HANDLER_RFLAGS(%eax)
        mov     %eax, %ebx
        popl    OBS_GPR(%ebx)
        popl    OBS_VECTOR(%ebx)
        popl    OBS_ERROR_CODE(%ebx)
        mov     %esp, OBS_FRAME(%ebx)
        popl    OBS_RIP(%ebx)
        popl    OBS_CS(%ebx)
        popl    OBS_RFLAGS(%ebx)
        mov     %esp, OBS_GPR + 8 * 4(%ebx)
        mov     %ss, OBS_SS(%ebx)
        testl   $RFLAGS_VM, OBS_RFLAGS(%ebx)    /* then CS is no selector */
        jnz     0f
        testb   $3, OBS_CS(%ebx)
        jz      1f
0:      popl    OBS_GPR + 8 * 4(%ebx)
        popl    OBS_SS(%ebx)
1:      mov     OBS_GPR + 8 * 4(%ebx), %eax
        mov     %eax, OBS_RSP(%ebx)
        mov     %cs, OBS_HANDLER_CS(%ebx)
        mov     %ss, OBS_HANDLER_SS(%ebx)

        mov     $DATA, %eax
        mov     %eax, %ss
        mov     $walker_stack_top, %esp
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        cld
        mov     OBS_VECTOR(%ebx), %ecx
        mov     phase, %eax
        test    %eax, %eax              /* PHASE_WALK: not the stimulus's doing */
        jz      lost
        mov     %eax, OBS_PHASE(%ebx)
        movl    $PHASE_WALK, phase
        cmp     $14, %ecx
        jne     2f
        mov     %cr2, %eax
        mov     %eax, OBS_CR2(%ebx)
2:      cmp     $1, %ecx
        jne     3f
        mov     %dr6, %eax
        mov     %eax, OBS_DR6(%ebx)
        xor     %eax, %eax
        mov     %eax, %dr7
        mov     $0xffff0ff0, %eax
        mov     %eax, %dr6
3:      lea     STIM_PEEKS(%ebx), %esi
        lea     OBS_PEEKED(%ebx), %edi
        mov     STIM_PEEK_COUNT(%ebx), %ecx
4:      jecxz   5f
        mov     (%esi), %ebp
        add     $8, %esi
        mov     (%ebp), %eax
        stosl
        mov     4(%ebp), %eax
        stosl
        dec     %ecx
        jmp     4b

5:      lgdt    gdtr
        lidt    idtr
        mov     %cr0, %eax
        cmp     base_cr0, %eax
        je      6f
        mov     base_cr0, %eax
        mov     %eax, %cr0
6:      mov     %cr4, %eax
        cmp     base_cr4, %eax
        je      7f
        mov     base_cr4, %eax
        mov     %eax, %cr4
7:      imul    $SET_SIZE, applied, %esi    /* undo in reverse */
        lea     STIM_SETS(%ebx, %esi), %esi
        mov     applied, %edi
        lea     OBS_OLD(%ebx, %edi, 8), %edi
8:      cmpl    $0, applied
        je      9f
        decl    applied
        sub     $SET_SIZE, %esi
        sub     $8, %edi
        mov     (%edi), %eax
        mov     4(%edi), %edx
        call    exchange
        jmp     8b
9:      mov     base_cr3, %eax
        mov     %eax, %cr3
        movl    $1, OBS_ANSWERED(%ebx)
        add     $ENTRY_SIZE, %ebx
        mov     %ebx, current
        incl    index
        jmp     walk

lost:   mov     %ecx, %eax
        or      $(EVENT_FAULT << 24), %eax
        jmp     last
done:   or      $(EVENT_DONE << 24), %eax
last:   mov     $REPORT_PORT, %edx
        out     %eax, %dx
        mov     on_done, %ecx
        jecxz   1f
        jmp     *%ecx
1:      cli
        hlt
        jmp     1b

        .balign 16
stubs:  .set    v, 0
        .rept   256
        .balign 16
        .ifeq   PUSHES_ERROR_CODE(v)
        push    $0
        .endif
        push    $v
        jmp     common
        .set    v, v + 1
        .endr

        .section .data, "aw"
        .balign 16
        .globl  idt, gdt, tss, io_bitmap, redirection_bitmap, stubs, base_cr0, base_cr4
idt:    .set    v, 0
        .rept   256
        .word   stubs + 16 * v, 0x08
        .byte   0
        .byte   0x8e + 0x60 * (v == 3 || v == 4 || v == 0x80)
        .word   0
        .set    v, v + 1
        .endr
idt_end:
        .balign 16
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      /* 08 code */
        .quad   0x00cf93000000ffff      /* 10 data */
        .quad   0x00cf9b000000ffff      /* 18 code */
        .quad   0x00cffb000000ffff      /* 20 user code */
        .quad   0x00cff3000000ffff      /* 28 user data */
        .quad   0x00cffb000000ffff      /* 30 user code */
        .word   tss_end - tss - 1, tss  /* 38 TSS */
        .byte   0, 0x89, 0, 0
        .quad   0                       /* 40 the long64 TSS's upper half: kept empty, so that selectors agree */
        .quad   0, 0, 0, 0              /* 48 spare */
        .quad   0x00009b000000ffff      /* 68 16-bit code */
        .quad   0x000093000000ffff      /* 70 16-bit data */
        .quad   0x0000fb000000ffff      /* 78 user 16-bit code */
        .quad   0x0000f3000000ffff      /* 80 user 16-bit data */
        .quad   0x00cfbb000000ffff      /* 88 ring 1 code */
        .quad   0x00cfb3000000ffff      /* 90 ring 1 data */
        .quad   0x00cfdb000000ffff      /* 98 ring 2 code */
        .quad   0x00cfd3000000ffff      /* a0 ring 2 data */
gdt_end:
gdtr:   .word   gdt_end - gdt - 1
        .long   gdt
idtr:   .word   idt_end - idt - 1
        .long   idt
        .balign 16
tss:    .long   0, rsp0_top, DATA, rsp1_top, 0x91, rsp2_top, 0xa2
        .fill   18, 4, 0
        .word   0, io_bitmap - tss
redirection_bitmap:                     /* of INT n in virtual-8086 mode with CR4.VME: all go to the monitor */
        .fill   32, 1, 0xff
io_bitmap:
        .fill   8193, 1, 0xff
tss_end:
        .balign 4
exchanges:
        .long   x_mem8, x_mem16, x_mem64, x_cr0, x_cr3, x_cr4, x_msr, x_dr, x_xcr, x_mem32
debug_registers:
        .long   x_dr0, x_dr1, x_dr2, x_dr3, lost, lost, x_dr6, x_dr7
        .globl  count, on_start, on_done
current:        .long 0
base_cr0:       .long 0
base_cr3:       .long 0
base_cr4:       .long 0
index:          .long 0
count:          .long 0                 /* of entries in the table: written by the host */
on_done:        .long 0                 /* where to go at the end, or 0 to halt: written by who boots this without a host */
on_start:       .long 0                 /* called when an entry starts, if not 0; may clobber any register: written likewise */
phase:          .long 0
applied:        .long 0
segment:        .long 0                 /* DS and ES to enter with */

#ifdef PAE
        .section .pages, "aw"
        .globl  pdpt, pd, pt, window_pd, window_pt
pd:     .long   pt + 7, 0
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
window_pd:
        .long   window_pt + 7, 0
        .fill   511, 8, 0
window_pt:
        .fill   512, 8, 0
pdpt:   .long   pd + 1, 0, window_pd + 1, 0, 0, 0, 0, 0
#endif

#ifdef PSE
        .section .pages, "aw"
        .globl  pd, pt, window_pd, window_pt
pd:     .long   pt + 7
        .set    p, 1
        .rept   255
        .long   (p << 22) | 0x83
        .set    p, p + 1
        .endr
window_pd:
        .long   window_pt + 7
        .fill   767, 4, 0
pt:     .set    p, 0
        .rept   1024
        .long   (p << 12) | 3 | 4 * (p >= USER_FIRST && p < USER_END)
        .set    p, p + 1
        .endr
window_pt:
        .fill   1024, 4, 0
#endif
