/* A driver of the Intel 82540EM and 82545EM, polled and interrupt-driven, with its PHY in loop-back: what is sent comes
   back, so it needs nobody at the other end of the cable, but for the tests `carried`.  "PCI/PCI-X Family of Gigabit
   Ethernet Controllers Software Developer's Manual" (317453).  Each test says what it observes. */
#include "../library/pci.h"
#include "../library/pic.h"
#include "../library/string.h"
#include "../library/together.h"

enum {                                   /* registers */
    CTRL = 0x0000, STATUS = 0x0008, EECD = 0x0010, EERD = 0x0014, MDIC = 0x0020, ICR = 0x00c0, IMS = 0x00d0, IMC = 0x00d8,
    RCTL = 0x0100, TCTL = 0x0400, RDBAL = 0x2800, RDBAH = 0x2804, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818,
    TDBAL = 0x3800, TDBAH = 0x3804, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818, GPTC = 0x4080, MTA = 0x5200,
    RAL = 0x5400, RAH = 0x5404, VFTA = 0x5600,
};
enum { CTRL_SLU = 1 << 6, CTRL_RST = 1 << 26, CTRL_VME = 1 << 30, STATUS_LU = 1 << 1 };
enum { EECD_SK = 1, EECD_CS = 2, EECD_DI = 4, EECD_DO = 8, EECD_REQ = 0x40, EECD_GNT = 0x80 };
enum { ICR_TXDW = 1, ICR_RXT0 = 0x80 };
enum { RCTL_EN = 1 << 1, RCTL_BAM = 1 << 15, RCTL_BSIZE_256 = 3 << 16, RCTL_VFE = 1 << 18, RCTL_SECRC = 1 << 26 };
enum { TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3 };
enum { CMD_EOP = 1 << 24, CMD_IFCS = 1 << 25, CMD_TSE = 1 << 26, CMD_RS = 1 << 27, CMD_DEXT = 1 << 29, CMD_VLE = 1 << 30 };
enum { DTYP_DATA = 1 << 20, TUCMD_TCP = 1 << 24, TUCMD_IP = 1 << 25 };
enum { POPTS_IXSM = 1 << 8, POPTS_TXSM = 2 << 8 };
enum { RX_DD = 1, RX_EOP = 2, RX_VP = 8 };

#define BAR 0xe0000000u                  /* where nobody placed the adapter before us */
#define IO_BAR 0xc000u
#define ISA_BRIDGE ((pci_function)(1 << 3))
#define IRQ 11
#define VECTOR (0x20 + IRQ)
#define COUNT 32                         /* descriptors of a ring, */
#define MOST 128                         /* and where many packets are carried */
#define LOOKS 1000000

struct tx { u64 address; u32 command, status; };
struct rx { u64 address; u16 length, checksum; u8 status, errors; u16 special; };

static volatile struct tx tx[MOST] __attribute__((aligned(16)));
static volatile struct rx rx[MOST] __attribute__((aligned(16)));
static u8 (*const frames)[4096] = (u8 (*)[4096])0x200000, (*const buffers)[2048] = (u8 (*)[2048])0x280000;   /* MOST */
static volatile u32 *base;
static u8 mac[6];
static u32 buffer_size, count = COUNT;
static unsigned tail, head;              /* of what was sent, of what came */

static u32 get(u32 at) { return base[at / 4]; }
static void put(u32 at, u32 value) { base[at / 4] = value; }

static void settle(void)                 /* QEMU's model is deaf for a while when RCTL was written: argument 7 */
{
    for (u64 n = arguments[7]; n; n--)
        pause();
}

static pci_function find(void)
{
    pci_function at = pci_find(0x8086, 0x100e);
    return at == PCI_NONE ? pci_find(0x8086, 0x100f) : at;
}

static void phy_write(u32 reg, u16 value)
{
    put(MDIC, 1 << 26 | 1 << 21 | reg << 16 | value);
    while (!(get(MDIC) & 1 << 28))
        pause();
}

static u16 phy_read(u32 reg)
{
    put(MDIC, 2 << 26 | 1 << 21 | reg << 16);
    while (!(get(MDIC) & 1 << 28))
        pause();
    return get(MDIC);
}

static u16 eeprom(u32 address)
{
    put(EERD, address << 8 | 1);
    while (!(get(EERD) & 1 << 4))
        pause();
    return get(EERD) >> 16;
}

static void start_pci(void)
{
    pci_function at = find();
    if (at == PCI_NONE)
        fault(0xff);
    if (!(pci_read32(at, 0x10) & ~0xfu))
        pci_write32(at, 0x10, BAR);
    if (!(pci_read32(at, 0x14) & ~0x3u))
        pci_write32(at, 0x14, IO_BAR);
    pci_write16(at, 0x04, 7);            /* I/O, memory, bus master */
    base = (volatile u32 *)(u64)(pci_read32(at, 0x10) & ~0xfu);
}

/* The adapter after a reset, rings set up, everything that is sent coming back. */
static void start(u32 rctl)
{
    start_pci();
    put(IMC, ~0u);
    put(CTRL, get(CTRL) | CTRL_RST);
    while (get(CTRL) & CTRL_RST)
        pause();
    put(IMC, ~0u);
    put(CTRL, get(CTRL) | CTRL_SLU);
    phy_write(0, 0x4140);                /* loop-back, 1000 Mb/s, full duplex */
    get(ICR);
    for (unsigned n = 0; n < 3; n++) {
        u16 word = eeprom(n);
        mac[2 * n] = word;
        mac[2 * n + 1] = word >> 8;
    }
    put(RAL, mac[0] | mac[1] << 8 | mac[2] << 16 | (u32)mac[3] << 24);
    put(RAH, mac[4] | mac[5] << 8 | 1u << 31);
    for (unsigned n = 0; n < 128; n++)
        put(MTA + 4 * n, 0);
    buffer_size = rctl & RCTL_BSIZE_256 ? 256 : 2048;
    tail = head = 0;
    for (unsigned n = 0; n < count; n++) {
        tx[n] = (struct tx){0};
        rx[n] = (struct rx){.address = (u64)buffers[n]};
    }
    memset(buffers, 0, count * sizeof *buffers);
    put(TDBAL, (u32)(u64)tx);
    put(TDBAH, 0);
    put(TDLEN, count * sizeof *tx);
    put(TDH, 0);
    put(TDT, 0);
    put(RDBAL, (u32)(u64)rx);
    put(RDBAH, 0);
    put(RDLEN, count * sizeof *rx);
    put(RDH, 0);
    put(RDT, count - 1);
    put(TCTL, TCTL_EN | TCTL_PSP | 0x0f << 4 | 0x40 << 12);
    put(RCTL, RCTL_EN | RCTL_SECRC | rctl);
    settle();
}

static void queue(const void *data, u32 command, u32 status)
{
    tx[tail].address = (u64)data;
    tx[tail].status = status;
    tx[tail].command = command;
    tail = (tail + 1) % count;
}

static bool wait_sent(void)              /* the last descriptor queued has DD */
{
    unsigned last = (tail + count - 1) % count;
    for (unsigned n = 0; n < LOOKS; n++) {
        if (tx[last].status & 1)
            return true;
        pause();
    }
    return false;
}

static const volatile struct rx *wait_received(void)
{
    for (unsigned n = 0; n < LOOKS; n++) {
        if (rx[head].status & RX_DD)
            return &rx[head];
        pause();
    }
    return 0;
}

static void give_back(void)              /* the descriptor at our head to the adapter */
{
    rx[head].status = 0;
    put(RDT, head);
    head = (head + 1) % count;
}

/* A frame to ourselves; each has a pattern of its own. */
static void make(u8 *at, u32 length, u8 seed)
{
    memcpy(at, mac, 6);
    memcpy(at + 6, mac, 6);
    at[12] = 0x88;
    at[13] = 0xb5;
    for (u32 n = 14; n < length; n++)
        at[n] = seed + n;
}

static u32 size_of(unsigned n) { return 60 + n * 37 % 1455; }

static bool good(unsigned n)             /* what is at our head is frame n */
{
    static u8 wanted[2048];
    make(wanted, size_of(n), n);
    return (rx[head].status & (RX_DD | RX_EOP)) == (RX_DD | RX_EOP) && rx[head].length == size_of(n) && !rx[head].errors &&
           !memcmp(buffers[head], wanted, size_of(n));
}

TEST(identity)                           /* ids; class; interrupt pin; sizes of BAR 0 and BAR 1 */
{
    pci_function at = find();
    observe(pci_read32(at, 0x00));
    observe(pci_read32(at, 0x08) >> 8);
    observe(pci_read8(at, 0x3d));
    observe(pci_bar_size(at, 0));
    observe(pci_bar_size(at, 1));
}

static u32 eecd(u32 pins) { put(EECD, EECD_REQ | pins); return get(EECD); }

static u16 eeprom_by_pins(u32 address)
{
    u32 command = 6 << 6 | address;
    u16 value = 0;
    eecd(0);
    eecd(EECD_CS);
    for (int n = 8; n >= 0; n--) {
        u32 data = command >> n & 1 ? EECD_DI : 0;
        eecd(EECD_CS | data);
        eecd(EECD_CS | data | EECD_SK);
        eecd(EECD_CS | data);
    }
    for (int n = 0; n < 16; n++) {
        value = value << 1 | !!(eecd(EECD_CS | EECD_SK) & EECD_DO);
        eecd(EECD_CS);
    }
    eecd(0);
    return value;
}

TEST(eeprom_words)                       /* sums of all words by EERD, by the pins; words 0 to 2, which are the address */
{
    u16 sums[2] = {0, 0};
    start_pci();
    for (u32 n = 0; n < 64; n++) {
        sums[0] += eeprom(n);
        sums[1] += eeprom_by_pins(n);
    }
    observe(sums[0]);
    observe(sums[1]);
    for (u32 n = 0; n < 3; n++)
        observe(eeprom_by_pins(n));
    put(EECD, 0);
}

TEST(phy)                                /* identifiers of the PHY; has it a link; has STATUS */
{
    start_pci();
    observe(phy_read(2));
    observe(phy_read(3));
    phy_read(1);
    observe(!!(phy_read(1) & 1 << 2));
    observe(!!(get(STATUS) & STATUS_LU));
}

TEST(polled)                             /* of 40 frames, one after the other: how many came back as they were sent */
{
    unsigned right = 0;
    start(RCTL_BAM);
    for (unsigned n = 0; n < 40; n++) {
        make(frames[0], size_of(n), n);
        queue(frames[0], size_of(n) | CMD_EOP | CMD_IFCS | CMD_RS, 0);
        put(TDT, tail);
        if (!wait_sent() || !wait_received())
            break;
        right += good(n);
        give_back();
    }
    observe(right);
    observe(get(GPTC));
}

TEST(batches)                            /* the same, ten with each doorbell, RS with the last */
{
    unsigned right = 0;
    start(RCTL_BAM);
    for (unsigned n = 0; n < 40; n += 10) {
        for (unsigned i = 0; i < 10; i++) {
            make(frames[i], size_of(n + i), n + i);
            queue(frames[i], size_of(n + i) | CMD_EOP | CMD_IFCS | (i == 9 ? CMD_RS : 0), 0);
        }
        put(TDT, tail);
        if (!wait_sent())
            break;
        for (unsigned i = 0; i < 10 && wait_received(); i++) {
            right += good(n + i);
            give_back();
        }
    }
    observe(right);
    observe(get(GPTC));
}

static volatile unsigned sent, came, came_right, interrupts;

static void interrupted(struct frame *frame)
{
    (void)frame;
    u32 cause = get(ICR);
    interrupts++;
    sent += !!(cause & ICR_TXDW);
    while (rx[head].status & RX_DD) {
        came_right += good(came);
        came++;
        give_back();
    }
    out8(0xa0, 0x20);
    out8(0x20, 0x20);
}

/* INTx of the adapter comes as VECTOR, by the 8259s. */
static void take_interrupts(void (*handler)(struct frame *))
{
    apic_enable(0xef);
    pic_open(0x20, 1 << IRQ, 1 << IRQ);
    pci_write32(ISA_BRIDGE, 0x60, IRQ * 0x01010101u);
    handle(VECTOR, handler);
}

TEST(interrupt_driven)                   /* of 40 frames: how many came back right; doorbells told of; none without a cause */
{
    take_interrupts(interrupted);
    start(RCTL_BAM);
    put(IMS, ICR_TXDW | ICR_RXT0);
    for (unsigned n = 0; n < 40; n++) {
        make(frames[0], size_of(n), n);
        queue(frames[0], size_of(n) | CMD_EOP | CMD_IFCS | CMD_RS, 0);
        put(TDT, tail);
        for (unsigned look = 0; look < 1000 && (came <= n || sent <= n); look++)
            window();
    }
    unsigned before = interrupts;
    window();
    observe(came_right);
    observe(sent);
    observe(interrupts - before);
    put(IMC, ~0u);
}

#define MARKED 64                        /* bytes of a frame that tell it from others */

/* Frame `number` to ourselves, its mark in the first bytes only: where code is interpreted each byte costs. */
static void queue_marked(unsigned number, u32 length)
{
    make(frames[tail], length < MARKED ? length : MARKED, number);
    queue(frames[tail], length | CMD_EOP | CMD_IFCS | CMD_RS, 0);
}

/* Is what is at our head that frame?  It is not yet given back. */
static bool take_marked(unsigned number, u32 length)
{
    static u8 wanted[MARKED];
    u32 marked = length < MARKED ? length : MARKED;
    make(wanted, marked, number);
    bool same = rx[head].length == length && !memcmp(buffers[head], wanted, marked);
    rx[head].status = 0;
    head = (head + 1) % count;
    return same;
}

static void by_cable(void) { phy_write(0, 0x0140); }   /* not by the PHY: what is sent comes back from the other end */

static void give_back_taken(void) { put(RDT, (head + count - 1) % count); }

TEST(carried)                            /* argument 1: packets, 2: how many at a time, 3: bytes of one, to itself */
{
    unsigned right = 0;
    count = MOST;
    start(RCTL_BAM);
    by_cable();
    host(0);
    for (u32 done = 0; done < arguments[1]; done += arguments[2]) {
        for (unsigned n = 0; n < arguments[2]; n++)
            queue_marked(done + n, arguments[3]);
        put(TDT, tail);
        for (unsigned n = 0; n < arguments[2] && wait_received(); n++)
            right += take_marked(done + n, arguments[3]);
        give_back_taken();
    }
    host(1);
    observe(right);
}

static void masked(struct frame *frame)  /* no more of them until it is allowed again */
{
    (void)frame;
    get(ICR);
    put(IMC, ~0u);
    interrupts++;
    out8(0xa0, 0x20);
    out8(0x20, 0x20);
}

TEST(carried_by_interrupt)               /* the same, one at a time; argument 2: buffers given back at a time */
{
    unsigned right = 0;
    count = MOST;
    take_interrupts(masked);
    start(RCTL_BAM);
    by_cable();
    host(0);
    put(IMS, ICR_RXT0);
    for (u32 n = 0; n < arguments[1]; n++) {
        unsigned before = interrupts;
        queue_marked(n, arguments[3]);
        put(TDT, tail);
        do {
            while (interrupts == before) {
                sti_hlt();
                cli();
            }
            before = interrupts;
            put(IMS, ICR_RXT0);          /* it may come again */
        } while (!(rx[head].status & RX_DD));
        right += take_marked(n, arguments[3]);
        if (n % arguments[2] == arguments[2] - 1)
            give_back_taken();
    }
    host(1);
    observe(right);
}

TEST(speak)                              /* argument 1: packets, 2: who, of at most 4; observes what was heard from each */
{
    unsigned heard[5] = {0};
    u8 source[6] = {2, 0, 0, 0, 1, arguments[2]};
    count = MOST;
    start(RCTL_BAM);
    by_cable();
    host(0);                             /* all are plugged in */
    for (u32 n = 0; n < arguments[1]; n++) {
        u8 *frame = frames[tail];
        make(frame, MARKED, n);
        memset(frame, 255, 6);
        memcpy(frame + 6, source, 6);
        queue(frame, MARKED | CMD_EOP | CMD_IFCS | CMD_RS, 0);
    }
    put(TDT, tail);
    wait_sent();
    host(1);                             /* all have spoken, and all is delivered */
    for (; rx[head].status & RX_DD; head = (head + 1) % count) {
        heard[buffers[head][11] < 4 ? buffers[head][11] : 4]++;
        rx[head].status = 0;
    }
    for (unsigned who = 0; who < 5; who++)
        observe(heard[who]);
}

TEST(flood)                              /* argument 1: rounds of so many packets as 2 says, 3: bytes of one */
{
    u32 done = 0;
    count = MOST;
    start(RCTL_BAM);
    by_cable();
    for (u64 round = 0; round < arguments[1]; round++) {
        for (unsigned n = 0; n < arguments[2]; n++)
            queue_marked(n, arguments[3]);
        put(TDT, tail);
        if (wait_sent())
            done += arguments[2];
        host(0);                         /* time passes */
    }
    observe(done);
}

/* A frame of TCP over IPv4 with so much data; sums are left to the adapter, whose seed has the length or not. */
static void make_tcp(u8 *at, u32 data, bool with_length)
{
    static const u8 headers[40] = {
        0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        0x10, 0, 0x20, 0, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0,
    };
    make(at, 54 + data, 1);
    at[12] = 0x08;
    at[13] = 0x00;
    memcpy(at + 14, headers, 40);
    at[16] = (40 + data) >> 8;
    at[17] = 40 + data;
    u32 seed = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + (with_length ? 20 + data : 0);
    at[50] = seed >> 8;
    at[51] = seed;
}

static u16 sum(const u8 *at, u32 length, u32 more)
{
    for (u32 n = 0; n < length; n++)
        more += n & 1 ? at[n] : at[n] << 8;
    while (more >> 16)
        more = (more & 0xffff) + (more >> 16);
    return more;
}

static bool sums_right(const u8 *at, u32 length)
{
    u32 segment = length - 34;
    return sum(at + 14, 20, 0) == 0xffff && sum(at + 34, segment, 0x0a00 + 1 + 0x0a00 + 2 + 6 + segment) == 0xffff;
}

static void queue_context(u32 mss, u32 payload)
{
    u64 offsets = 14 | 24 << 8 | 33 << 16 | 34ull << 32 | 50ull << 40;
    tx[tail].address = offsets;
    tx[tail].command = payload | TUCMD_TCP | TUCMD_IP | CMD_DEXT | (mss ? CMD_TSE : 0);
    tx[tail].status = (mss ? 54 : 0) << 8 | mss << 16;
    tail = (tail + 1) % count;
}

TEST(checksums)                          /* of 5 frames with sums left to the adapter: how many came back with right ones */
{
    unsigned right = 0;
    start(RCTL_BAM);
    queue_context(0, 0);
    for (unsigned n = 0; n < 5; n++) {
        u32 data = 101 * n + 7;
        make_tcp(frames[n], data, true);
        queue(frames[n], (54 + data) | DTYP_DATA | CMD_DEXT | CMD_EOP | CMD_IFCS | CMD_RS, POPTS_IXSM | POPTS_TXSM);
    }
    put(TDT, tail);
    for (unsigned n = 0; n < 5 && wait_received(); n++) {
        right += rx[head].length == (n ? 54 + 101 * n + 7 : 61) && sums_right(buffers[head], rx[head].length);
        give_back();
    }
    observe(right);
}

TEST(segments)                           /* 3000 bytes in segments of 1000: frames; lengths, ids, numbers, flags, sums, data right */
{
    unsigned came_back = 0, right = 0;
    start(RCTL_BAM);
    make_tcp(frames[0], 3000, false);
    queue_context(1000, 3000);
    queue(frames[0], 54 | DTYP_DATA | CMD_DEXT | CMD_TSE | CMD_IFCS, POPTS_IXSM | POPTS_TXSM);
    queue(frames[0] + 54, 3000 | DTYP_DATA | CMD_DEXT | CMD_TSE | CMD_EOP | CMD_IFCS | CMD_RS, 0);
    put(TDT, tail);
    wait_sent();
    for (; rx[head].status & RX_DD; came_back++) {
        const u8 *at = buffers[head];
        right += rx[head].length == 1054 && at[16] == 1040 >> 8 && at[17] == (1040 & 0xff);
        right += at[18] == 0x12 && at[19] == 0x34 + came_back;
        right += (u32)(at[40] << 8 | at[41]) == 0x1000 + 1000 * came_back;
        right += at[47] == (came_back == 2 ? 0x18 : 0x10);
        right += sums_right(at, rx[head].length);
        right += !memcmp(at + 54, frames[0] + 54 + 1000 * came_back, 1000);
        give_back();
    }
    observe(came_back);
    observe(right);
}

TEST(tags)                               /* a frame with a tag comes back: length, tag and VP; with VFE and without its bit; with it */
{
    start(RCTL_BAM);
    put(CTRL, get(CTRL) | CTRL_VME);
    for (unsigned n = 0; n < 128; n++)
        put(VFTA + 4 * n, 0);
    for (unsigned n = 0; n < 3; n++) {
        if (n == 1) {
            put(RCTL, get(RCTL) | RCTL_VFE);
            settle();
        }
        if (n == 2)
            put(VFTA, 1 << 5);
        make(frames[0], 60, 0);
        queue(frames[0], 60 | CMD_EOP | CMD_IFCS | CMD_RS | CMD_VLE, 5 << 16);
        put(TDT, tail);
        wait_sent();
        if (!(rx[head].status & RX_DD)) {
            observe(0);
            continue;
        }
        observe(rx[head].length | rx[head].special << 16 | (u64)(rx[head].status & RX_VP) << 32);
        give_back();
    }
}

static bool comes_back(const u8 *to)
{
    make(frames[0], 60, 0);
    memcpy(frames[0], to, 6);
    queue(frames[0], 60 | CMD_EOP | CMD_IFCS | CMD_RS, 0);
    put(TDT, tail);
    wait_sent();
    if (!(rx[head].status & RX_DD))
        return false;
    give_back();
    return true;
}

TEST(filters)                            /* is taken: own; foreign; group; group with its bit; broadcast; without BAM */
{
    static const u8 foreign[6] = {0x52, 0x54, 0, 0xaa, 0xaa, 0xaa}, group[6] = {1, 0, 0x5e, 1, 2, 0xfb};
    static const u8 all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    u32 index = (group[4] | group[5] << 8) >> 4;
    start(RCTL_BAM);
    observe(comes_back(mac));
    observe(comes_back(foreign));
    observe(comes_back(group));
    put(MTA + 4 * (index >> 5), 1u << (index & 31));
    observe(comes_back(group));
    observe(comes_back(all));
    put(RCTL, get(RCTL) & ~RCTL_BAM);
    observe(comes_back(all));
}

TEST(small_buffers)                      /* 600 bytes in buffers of 256: length and EOP of four descriptors */
{
    start(RCTL_BAM | RCTL_BSIZE_256);
    make(frames[0], 600, 0);
    queue(frames[0], 600 | CMD_EOP | CMD_IFCS | CMD_RS, 0);
    put(TDT, tail);
    wait_sent();
    for (unsigned n = 0; n < 4; n++)
        observe(rx[n].length | (u64)(rx[n].status & (RX_DD | RX_EOP)) << 32);
}

TEST(reset)                              /* after CTRL.RST: TDT, RDT, TDLEN, RDLEN, TCTL, RCTL, IMS; the address is there */
{
    static const u32 cleared[] = {TDT, RDT, TDLEN, RDLEN, TCTL, RCTL, IMS};
    start(RCTL_BAM);
    put(IMS, ICR_RXT0);
    put(RAL, 0);
    put(CTRL, get(CTRL) | CTRL_RST);
    for (unsigned n = 0; n < sizeof cleared / sizeof *cleared; n++)
        observe(get(cleared[n]));
    observe(get(RAL) == (mac[0] | mac[1] << 8 | mac[2] << 16 | (u32)mac[3] << 24));
}

TEST(random_pins)                        /* argument 1 is how many values EECD gets; word 1 afterwards */
{
    u32 seed = 1;
    start_pci();
    for (u64 n = 0; n < arguments[1]; n++) {
        seed = seed * 1664525 + 1013904223;
        put(EECD, seed >> 8);
    }
    observe(eeprom_by_pins(1));
}

#define MANY ((volatile struct tx *)0x200000)
#define HOW_MANY 4096                    /* more than the adapter sends at a stretch */

static volatile unsigned full, reset_done;
static unsigned late;

static void send_and_reset(unsigned number)
{
    for (unsigned round = 1; round <= rounds(); round++) {
        if (number) {
            await(&full, round);
            put(CTRL, get(CTRL) | CTRL_RST);
            raise(&reset_done);
            continue;
        }
        start(RCTL_BAM);
        put(TDBAL, (u32)(u64)MANY);
        put(TDLEN, HOW_MANY * sizeof *MANY);
        for (unsigned n = 0; n < HOW_MANY; n++)
            MANY[n] = (struct tx){(u64)frames[0], 60 | CMD_EOP | CMD_RS, 0};
        put(TDT, HOW_MANY - 1);
        raise(&full);
        await(&reset_done, round);
        for (unsigned n = 0; n < HOW_MANY; n++)
            MANY[n].status = 0;
        for (unsigned n = 0; n < 20; n++)
            host(0xff);                  /* no act, but time for what was not done */
        for (unsigned n = 0; n < HOW_MANY; n++)
            late += MANY[n].status & 1;
    }
}

TEST(reset_from_elsewhere)               /* descriptors written back after the reset of another processor; TDT at the end */
{
    together(send_and_reset);
    observe(late);
    observe(get(TDT));
}

TEST(poll_for_ever)                      /* the first cause that ICR shows, however long that takes */
{
    u32 cause;
    start_pci();
    while (!(cause = get(ICR)))
        ;
    observe(cause);
}

int main(void)
{
    run_test();
    return 0;
}
