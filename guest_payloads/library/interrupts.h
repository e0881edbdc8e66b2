/* Interrupt and exception handlers; one table for all processors. */
#pragma once

#include "cpu.h"

struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error_code;              /* 0 where the processor pushes none */
    u64 rip, cs, rflags, rsp, ss;
};

typedef void handler(struct frame *frame);

void handle(u8 vector, handler *with);   /* from now on; a vector without a handler ends the program with FAULT */
void interrupts_load(void);              /* for each further processor, before it takes one */
