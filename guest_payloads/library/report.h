/* What a program tells the host: docs/guest-protocol.md.  For one processor at a time. */
#pragma once

#include "cpu.h"

/* What the case gave the program; the host writes it before the program starts. */
extern u64 arguments[8];

void observe(u64 value);                 /* append to the observations */
void message(const char *text);          /* a line for the evidence, of 4095 bytes at most */
_Noreturn void done(void);               /* all observations are made; returning from main does the same */
_Noreturn void fault(unsigned vector);   /* something went wrong that the case does not judge */
