/* What an operating system looks up in the tables of its machine, and whether the machine is so.
   ACPI Specification 6.5, "ACPI Software Programming Model"; DMTF DSP0134, "Accessing SMBIOS information". */
#include "../library/ioapic.h"
#include "../library/string.h"
#include "../library/tests.h"

#define AREA 0xe0000u
#define AREA_END 0x100000u
#define HEADER 36

static const u8 *at(u64 address) { return (const u8 *)address; }

static u32 word(const u8 *from)
{
    u32 value;
    memcpy(&value, from, 4);
    return value;
}

static u64 wide(const u8 *from) { return word(from) | (u64)word(from + 4) << 32; }

static u8 sum(const u8 *from, u32 length)
{
    u8 total = 0;
    while (length--)
        total += *from++;
    return total;
}

static const u8 *anchor(const char *signature, u32 length)      /* on 16 bytes below 1 MiB */
{
    for (u64 address = AREA; address < AREA_END; address += 16)
        if (!memcmp(at(address), signature, length))
            return at(address);
    fault(0xfe);
}

static bool sound(const u8 *of) { return !sum(of, word(of + 4)); }

static const u8 *listed(const char *signature)                   /* that the XSDT leads to */
{
    const u8 *xsdt = at(wide(anchor("RSD PTR ", 8) + 24));
    for (u32 n = HEADER; n < word(xsdt + 4); n += 8)
        if (!memcmp(at(wide(xsdt + n)), signature, 4))
            return at(wide(xsdt + n));
    fault(0xfd);
}

TEST(root)        /* RSDP: both sums, revision; XSDT: signature, sum; its tables, and how many are sound; the DSDT */
{
    const u8 *rsdp = anchor("RSD PTR ", 8), *xsdt = at(wide(rsdp + 24)), *dsdt = at(wide(listed("FACP") + 140));
    u32 tables = 0, right = 0;
    observe(sum(rsdp, 20));
    observe(sum(rsdp, word(rsdp + 20)));
    observe(rsdp[15]);
    observe(!memcmp(xsdt, "XSDT", 4));
    observe(sound(xsdt));
    for (u32 n = HEADER; n < word(xsdt + 4); n += 8, tables++)
        right += sound(at(wide(xsdt + n)));
    observe(tables);
    observe(right);
    observe(!memcmp(dsdt, "DSDT", 4) && sound(dsdt) && (u64)dsdt == word(listed("FACP") + 40));
}

TEST(fixed)       /* FADT: ports and lengths of PM1a event, control and timer; SCI; SCI_EN before and after; does time pass */
{
    const u8 *fadt = listed("FACP");
    u16 control = word(fadt + 64), timer = word(fadt + 76);
    observe(word(fadt + 56));
    observe(fadt[88]);
    observe(control);
    observe(fadt[89]);
    observe(timer);
    observe(fadt[91]);
    observe(word(fadt + 46) & 0xffff);
    observe(in16(control) & 1);
    out8(word(fadt + 48), fadt[52]);
    observe(in16(control) & 1);
    u32 before = in32(timer);
    unsigned looks = 0;
    while (in32(timer) == before && ++looks < 1000000)
        ;
    observe(in32(timer) != before);
}

static u64 ids;
static volatile unsigned told;

static void tell(unsigned number)
{
    (void)number;
    __atomic_or_fetch(&ids, 1ull << apic_id(), __ATOMIC_ACQ_REL);
    raise(&told);
}

TEST(processors)  /* Argument 1: how many run.  MADT: their APIC ids, and who they are; I/O APIC: base, address, lines; overrides of 0 and 9 */
{
    const u8 *madt = listed("APIC");
    u64 there = 0;
    u32 ioapics = 0, base = ~0u, where = 0, timer = ~0u, sci = ~0u;
    for (u32 n = 44; n < word(madt + 4) && madt[n + 1]; n += madt[n + 1]) {
        const u8 *entry = madt + n;
        if (entry[0] == 0 && entry[4] & 1)
            there |= 1ull << entry[3];
        if (entry[0] == 1 && !ioapics++) {
            where = word(entry + 4);
            base = word(entry + 8);
        }
        if (entry[0] == 2 && entry[3] == 0)
            timer = word(entry + 4);
        if (entry[0] == 2 && entry[3] == 9)
            sci = word(entry + 4) << 16 | entry[8];
    }
    apic_enable(0xff);
    smp_start(tell);
    tell(0);
    await(&told, arguments[1]);
    observe(there);
    observe(ids);
    observe(base);
    observe(where);
    *(volatile u32 *)(u64)where = 1;     /* the version */
    observe((*(volatile u32 *)(u64)(where + 0x10) >> 16 & 0xff) + 1);
    observe(timer);
    observe(sci);
}

TEST(waking)      /* FACS: signature, length, how it is aligned */
{
    const u8 *facs = at(word(listed("FACP") + 36));
    observe(!memcmp(facs, "FACS", 4));
    observe(word(facs + 4));
    observe((u64)facs % 64);
}

/* Types of structures as bits, how many there are, and where the table ends; its size in MiB is of the memory device. */
static u32 structures, mib;

static u32 walk(const u8 *from, u32 length, u64 *types)
{
    u32 n = 0;
    while (n + 4 <= length) {
        u8 type = from[n];
        *types |= 1ull << (type == 127 ? 63 : type);
        structures++;
        if (type == 17)
            mib = from[n + 12] | from[n + 13] << 8;
        n += from[n + 1];
        while (n + 1 < length && (from[n] || from[n + 1]))
            n++;
        n += 2;
        if (type == 127)
            break;
    }
    return n;
}

TEST(inventory)   /* SMBIOS 3: sum of the entry point; types; does the table end where it says; MiB of memory */
{
    const u8 *entry = anchor("_SM3_", 5);
    u64 types = 0;
    u32 length = word(entry + 12);
    observe(sum(entry, entry[6]));
    u32 end = walk(at(wide(entry + 16)), length, &types);
    observe(types);
    observe(end == length);
    observe(mib);
}

static u8 content[0x2000];

static u32 file(const char *name)                               /* of fw_cfg, into `content`; its size */
{
    u8 head[4], row[64];
    out16(0x510, 0x19);
    for (u32 n = 0; n < 4; n++)
        head[n] = in8(0x511);
    for (u32 files = head[3]; files--;) {
        for (u32 n = 0; n < sizeof row; n++)
            row[n] = in8(0x511);
        u32 length = 0;
        while (name[length])
            length++;
        if (memcmp(row + 8, name, length + 1))
            continue;
        u32 size = row[2] << 8 | row[3];
        out16(0x510, row[4] << 8 | row[5]);
        for (u32 n = 0; n < size && n < sizeof content; n++)
            content[n] = in8(0x511);
        return size;
    }
    fault(0xfc);
}

TEST(anchor_2)    /* SMBIOS 2: both sums; does it tell the length of the table, and how many structures it has */
{
    u64 types = 0;
    file("etc/smbios/smbios-anchor");
    observe(!memcmp(content, "_SM_", 4) && !memcmp(content + 16, "_DMI_", 5));
    observe(sum(content, content[5]));
    observe(sum(content + 16, 15));
    u32 told = content[22] | content[23] << 8, count = content[28] | content[29] << 8;
    observe(told == file("etc/smbios/smbios-tables"));
    walk(content, told, &types);
    observe(structures == count);
}

int main(void)
{
    run_test();
    return 0;
}
