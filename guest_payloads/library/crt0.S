/* Before main: tables of long mode, a stack, zeroed variables.

   The host enters at `entry` in 64-bit mode at ring 0 with CR3 = pml4, interrupts off.  The first 4 GiB are mapped one
   to one in 2 MiB pages; the last GiB, where the APICs are, uncached.  Selectors: 0x08 code, 0x10 data. */

        .code64
        .section .text, "ax"
        .globl  entry
entry:  mov     $stack_top, %esp
        lgdt    gdtr
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        cld
        mov     $bss, %edi
        mov     $bss_end, %ecx
        sub     %edi, %ecx
        shr     $3, %ecx
        xor     %eax, %eax
        rep stosq
        call    interrupts_init
        call    main
        jmp     done

        .section .data, "aw"
        .balign 8
        .globl  gdtr, gdt
gdt:    .quad   0
        .quad   0x00af9b000000ffff
        .quad   0x00cf93000000ffff
gdt_end:
gdtr:   .word   gdt_end - gdt - 1
        .quad   gdt

        .section .pages, "aw"
        .globl  pml4
pml4:   .quad   pdpt + 7
        .fill   511, 8, 0
pdpt:   .quad   pd + 0x0007, pd + 0x1007, pd + 0x2007, pd + 0x3007
        .fill   508, 8, 0
pd:     .set    p, 0
        .rept   2048
        .quad   (p << 21) | 0x83 | 0x18 * (p >= 1536 && 1)
        .set    p, p + 1
        .endr

        .section .noinit, "aw", @nobits
        .balign 4096
        .fill   0x2000
        .globl  stack_top
stack_top:
