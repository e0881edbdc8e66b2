/* Further processors: started by INIT-SIPI-SIPI, each runs a function once, and halts.
   Intel SDM vol. 3A, "Multiple-Processor (MP) Initialization". */
#pragma once

#include "cpu.h"

#define SMP_MAX 64                       /* processors, the first included */

/* Start all other processors; each calls the function with its number, 1 to SMP_MAX - 1, in order of arrival.  It has a
   stack of its own, the tables of the first processor, its CR0, CR4 and EFER, an enabled APIC, and interrupts off. */
void smp_start(void (*function)(unsigned number));
unsigned smp_arrived(void);              /* how many have got as far as their function */
