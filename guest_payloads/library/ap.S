/* How a further processor gets from SIPI to ap_main: real mode to 64-bit mode in one step.

   The code from ap_start is copied to the page that SIPI names, so it addresses itself by offsets in that segment. */

#define SMP_MAX 64
#define STACK 4096

        .section .data, "aw"
        .globl  ap_start, ap_start_end, ap_cr0, ap_cr3, ap_cr4, ap_efer
        .code16
        .balign 16
ap_start:
        cli
        mov     %cs, %ax
        mov     %ax, %ds
        lgdtl   gdtr_copy - ap_start
        mov     ap_cr4 - ap_start, %eax
        mov     %eax, %cr4
        mov     ap_cr3 - ap_start, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx
        xor     %edx, %edx
        mov     ap_efer - ap_start, %eax
        wrmsr
        mov     ap_cr0 - ap_start, %eax
        mov     %eax, %cr0
        ljmpl   $0x08, $ap_long
        .balign 4
gdtr_copy:
        .word   3 * 8 - 1
        .long   gdt
        .balign 4
ap_cr0: .long   0
ap_cr3: .long   0
ap_cr4: .long   0
ap_efer: .long  0
ap_start_end:

        .section .text, "ax"
        .code64
ap_long:
        lgdt    gdtr
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $1, %edi
        lock xadd %edi, ap_next
        cmp     $SMP_MAX, %edi
        jae     1f
        imul    $STACK, %edi, %eax
        lea     ap_stacks + STACK(%rax), %rsp
        call    ap_main
1:      cli
        hlt
        jmp     1b

        .section .data, "aw"
        .balign 4
ap_next:
        .long   1
