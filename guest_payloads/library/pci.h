/* PCI configuration space by mechanism #1: an address to port 0xCF8, data at 0xCFC.
   PCI Local Bus Specification 3.0, "Software Generation of Configuration Transactions". */
#pragma once

#include "cpu.h"

typedef u16 pci_function;                /* bus in bits 15:8, device in 7:3, function in 2:0 */
#define PCI_NONE ((pci_function)0xffff)
#define PCI_MSIX 0x11                    /* id of a capability */

u8 pci_read8(pci_function of, u8 offset);
u16 pci_read16(pci_function of, u8 offset);
u32 pci_read32(pci_function of, u8 offset);
void pci_write8(pci_function of, u8 offset, u8 value);
void pci_write16(pci_function of, u8 offset, u16 value);
void pci_write32(pci_function of, u8 offset, u32 value);

pci_function pci_find(u16 vendor, u16 device);   /* the first on bus 0, or PCI_NONE */
u8 pci_capability(pci_function of, u8 id);       /* its offset, or 0 */
u64 pci_bar_size(pci_function of, unsigned bar); /* bytes, 0: not there; decoding is off while it is asked */

/* Entry 0 of the MSI-X table sends `vector` to APIC 0; MSI-X is on.  The BAR that holds the table has an address. */
void pci_use_message(pci_function of, u8 vector);
