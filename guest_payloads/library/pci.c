#include "pci.h"

#define ADDRESS 0xcf8
#define DATA 0xcfc
#define ENABLE (1u << 31)

enum { VENDOR = 0x00, COMMAND = 0x04, STATUS = 0x06, BARS = 0x10, CAPABILITIES = 0x34 };
enum { COMMAND_IO = 1, COMMAND_MEMORY = 2, STATUS_CAPABILITIES = 1 << 4 };

static u16 select(pci_function of, u8 offset)
{
    out32(ADDRESS, ENABLE | (u32)of << 8 | (offset & 0xfc));
    return DATA + (offset & 3);
}

u8 pci_read8(pci_function of, u8 offset) { return in8(select(of, offset)); }
u16 pci_read16(pci_function of, u8 offset) { return in16(select(of, offset)); }
u32 pci_read32(pci_function of, u8 offset) { return in32(select(of, offset)); }
void pci_write8(pci_function of, u8 offset, u8 value) { out8(select(of, offset), value); }
void pci_write16(pci_function of, u8 offset, u16 value) { out16(select(of, offset), value); }
void pci_write32(pci_function of, u8 offset, u32 value) { out32(select(of, offset), value); }

pci_function pci_find(u16 vendor, u16 device)
{
    for (unsigned f = 0; f < 256; f++) {
        u32 ids = pci_read32(f, VENDOR);
        if (ids == (vendor | (u32)device << 16))
            return f;
        if (!(f & 7) && (u16)ids == 0xffff)      /* no function 0: no device */
            f |= 7;
    }
    return PCI_NONE;
}

u8 pci_capability(pci_function of, u8 id)
{
    if (!(pci_read16(of, STATUS) & STATUS_CAPABILITIES))
        return 0;
    u8 at = pci_read8(of, CAPABILITIES) & 0xfc;
    for (unsigned n = 0; at && n < 48; n++) {    /* as many as there is room for: a list may be a ring */
        if (pci_read8(of, at) == id)
            return at;
        at = pci_read8(of, at + 1) & 0xfc;
    }
    return 0;
}

u64 pci_bar_size(pci_function of, unsigned bar)
{
    u8 at = BARS + 4 * bar;
    u16 command = pci_read16(of, COMMAND);
    u32 low = pci_read32(of, at);
    bool io = low & 1, wide = !io && (low & 6) == 4;
    u32 high = wide ? pci_read32(of, at + 4) : 0;

    pci_write16(of, COMMAND, command & ~(COMMAND_IO | COMMAND_MEMORY));
    pci_write32(of, at, 0xffffffff);
    u64 mask = pci_read32(of, at) & (io ? ~3u : ~15u);
    if (wide) {
        pci_write32(of, at + 4, 0xffffffff);
        mask |= (u64)pci_read32(of, at + 4) << 32;
        pci_write32(of, at + 4, high);
    } else if (mask) {
        mask |= io ? 0xffffffffffff0000ull : 0xffffffff00000000ull;   /* upper bits of a port may read as 0 */
    }
    pci_write32(of, at, low);
    pci_write16(of, COMMAND, command);
    return mask & -mask;
}

void pci_use_message(pci_function of, u8 vector)
{
    u8 at = pci_capability(of, PCI_MSIX);
    u32 place = pci_read32(of, at + 4);
    u64 base = pci_read32(of, BARS + 4 * (place & 7)) & ~15u;
    volatile u32 *entry = (volatile u32 *)(base + (place & ~7u));
    entry[0] = 0xfee00000;
    entry[1] = 0;
    entry[2] = vector;
    entry[3] = 0;
    pci_write16(of, at + 2, 0x8000);
}
