/* State that must stay this guest's: it is set from argument 1, and compared after each act 0 of the host's, in which
   another guest runs.  Argument 2: how many rounds.  Observation: how many rounds found something else. */
#include "library/pages.h"
#include "library/string.h"
#include "library/tests.h"
#include "table.h"

static unsigned wrong;

static u64 pattern(unsigned n, u64 round) { return arguments[1] * (n + 1) + round; }

TEST(general_registers)                  /* but RSP, RAX and RDX, which the exit needs */
{
    static u64 set[13], found[13];
    for (u64 round = 0; round < arguments[2]; round++) {
        for (unsigned n = 0; n < 13; n++)
            set[n] = pattern(n, round);
        asm volatile("push %%rbp; mov %0, %%rax\n"
                     "mov (%%rax), %%rbx; mov 8(%%rax), %%rcx; mov 16(%%rax), %%rsi; mov 24(%%rax), %%rdi\n"
                     "mov 32(%%rax), %%rbp; mov 40(%%rax), %%r8; mov 48(%%rax), %%r9; mov 56(%%rax), %%r10\n"
                     "mov 64(%%rax), %%r11; mov 72(%%rax), %%r12; mov 80(%%rax), %%r13; mov 88(%%rax), %%r14\n"
                     "mov 96(%%rax), %%r15\n"
                     "mov %2, %%edx; xor %%eax, %%eax; out %%al, %%dx; mov %1, %%rax\n"
                     "mov %%rbx, (%%rax); mov %%rcx, 8(%%rax); mov %%rsi, 16(%%rax); mov %%rdi, 24(%%rax)\n"
                     "mov %%rbp, 32(%%rax); mov %%r8, 40(%%rax); mov %%r9, 48(%%rax); mov %%r10, 56(%%rax)\n"
                     "mov %%r11, 64(%%rax); mov %%r12, 72(%%rax); mov %%r13, 80(%%rax); mov %%r14, 88(%%rax)\n"
                     "mov %%r15, 96(%%rax); pop %%rbp\n"
                     : : "i"(set), "i"(found), "i"(HOST_PORT)
                     : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "memory");
        wrong += !!memcmp(set, found, sizeof set);
    }
    observe(wrong);
}

TEST(debug_registers)                    /* DR0 to DR3, DR6's and DR7's bits that enable nothing */
{
    for (u64 round = 0; round < arguments[2]; round++) {
        u64 a = pattern(0, round), b = pattern(1, round), c = pattern(2, round), d = pattern(3, round), any = 0, v;
        u64 dr6 = 0xffff0ff0 | (pattern(0, round) & 0xf), dr7 = 0x400 | (pattern(0, round) & 3) << 16;
        asm volatile("mov %0, %%db0; mov %1, %%db1; mov %2, %%db2; mov %3, %%db3" : : "r"(a), "r"(b), "r"(c), "r"(d));
        asm volatile("mov %0, %%db6; mov %1, %%db7" : : "r"(dr6), "r"(dr7));
        host(0);
        asm volatile("mov %%db0, %0" : "=r"(v)); any |= v ^ a;
        asm volatile("mov %%db1, %0" : "=r"(v)); any |= v ^ b;
        asm volatile("mov %%db2, %0" : "=r"(v)); any |= v ^ c;
        asm volatile("mov %%db3, %0" : "=r"(v)); any |= v ^ d;
        asm volatile("mov %%db6, %0" : "=r"(v)); any |= (v ^ dr6) & 0xf;
        asm volatile("mov %%db7, %0" : "=r"(v)); any |= v ^ dr7;
        wrong += !!any;
    }
    observe(wrong);
}

static void model_specific(const u32 *which, unsigned count)
{
    u64 mask = 0x00007fffffffffff;       /* canonical */
    for (u64 round = 0; round < arguments[2]; round++) {
        bool any = false;
        for (unsigned n = 0; n < count; n++)
            wrmsr(which[n], pattern(n, round) & mask);
        host(0);
        for (unsigned n = 0; n < count; n++)
            any |= rdmsr(which[n]) != (pattern(n, round) & mask);
        wrong += any;
    }
    observe(wrong);
}

TEST(bases)                              /* FS, GS, and what SWAPGS exchanges */
{
    static const u32 which[] = {0xc0000100, 0xc0000101, 0xc0000102};
    model_specific(which, 3);
}

TEST(system_calls)                       /* STAR, LSTAR, SYSENTER_ESP and _EIP */
{
    static const u32 which[] = {0xc0000081, 0xc0000082, 0x175, 0x176};
    model_specific(which, 4);
}

#define CR4_OSFXSR (1 << 9)
TEST(vector_registers)                            /* XMM0 to XMM15 */
{
    static u64 set[16][2], found[16][2];
    write_cr4(read_cr4() | CR4_OSFXSR);
    for (u64 round = 0; round < arguments[2]; round++) {
        for (unsigned n = 0; n < 16; n++)
            set[n][0] = pattern(n, round), set[n][1] = ~pattern(n, round);
#define LOAD(n) asm volatile("movups %0, %%xmm" #n : : "m"(set[n]))
#define STORE(n) asm volatile("movups %%xmm" #n ", %0" : "=m"(found[n]))
        LOAD(0); LOAD(1); LOAD(2); LOAD(3); LOAD(4); LOAD(5); LOAD(6); LOAD(7);
        LOAD(8); LOAD(9); LOAD(10); LOAD(11); LOAD(12); LOAD(13); LOAD(14); LOAD(15);
        host(0);
        STORE(0); STORE(1); STORE(2); STORE(3); STORE(4); STORE(5); STORE(6); STORE(7);
        STORE(8); STORE(9); STORE(10); STORE(11); STORE(12); STORE(13); STORE(14); STORE(15);
        wrong += !!memcmp(set, found, sizeof set);
    }
    observe(wrong);
}

static u64 page[512] __attribute__((aligned(4096))), other[512] __attribute__((aligned(4096)));
#define PLACE 0x8000000000ull

TEST(translations)                       /* one address, which leads to another frame in the other guest: `page` or `other` */
{
    page[0] = other[0] = arguments[1];
    page_map(PLACE, (u64)(arguments[3] ? page : other), PAGE_P | PAGE_W);
    for (u64 round = 0; round < arguments[2]; round++) {
        *(volatile u64 *)PLACE = pattern(0, round);
        host(0);
        wrong += *(volatile u64 *)PLACE != pattern(0, round);
        wrong += (arguments[3] ? other : page)[0] != arguments[1];
    }
    observe(wrong);
}

#define CR4_PCIDE (1 << 17)
TEST(same_pcid)                          /* the same, under PCID 1 */
{
    write_cr4(read_cr4() | CR4_PCIDE);
    write_cr3(read_cr3() | 1);
    translations();
}

TEST(task_priority)                      /* CR8 */
{
    for (u64 round = 0; round < arguments[2]; round++) {
        u64 set = pattern(0, round) & 0xf, found;
        asm volatile("mov %0, %%cr8" : : "r"(set));
        host(0);
        asm volatile("mov %%cr8, %0" : "=r"(found));
        wrong += found != set;
    }
    observe(wrong);
}

#define CR4_PKE (1 << 22)
TEST(protection_keys)                    /* PKRU, but the rights of key 0, which every page has */
{
    write_cr4(read_cr4() | CR4_PKE);
    for (u64 round = 0; round < arguments[2]; round++) {
        u32 set = pattern(0, round) << 2, found, high;
        asm volatile("wrpkru" : : "a"(set), "c"(0), "d"(0));
        host(0);
        asm volatile("rdpkru" : "=a"(found), "=d"(high) : "c"(0));
        wrong += found != set;
    }
    observe(wrong);
}

TEST(fill)                               /* its memory from A0000H to argument 3 */
{
    for (u64 at = 0xa0000; at < arguments[3]; at += 8)
        *(volatile u64 *)at = arguments[1];
    host(0);
    for (u64 at = 0xa0000; at < arguments[3]; at += 8)
        wrong += *(volatile u64 *)at != arguments[1];
    observe(wrong);
}

int main(void)
{
    run_test();
    return 0;
}
