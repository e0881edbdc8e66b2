/* By words, the rest by bytes: where a repeated instruction is interpreted, each turn costs the same. */
#include "cpu.h"
#include "string.h"

void *memcpy(void *to, const void *from, size_t length)
{
    void *at = to;
    size_t words = length / 8, rest = length % 8;
    asm volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words) : : "memory");
    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(rest) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t length)
{
    char *d = to;
    const char *s = from;
    if (d <= s)
        return memcpy(to, from, length);
    while (length--)
        d[length] = s[length];
    return to;
}

void *memset(void *at, int byte, size_t length)
{
    void *to = at;
    size_t words = length / 8, rest = length % 8;
    u64 word = (u8)byte * 0x0101010101010101;
    asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(word) : "memory");
    asm volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(word) : "memory");
    return at;
}

int memcmp(const void *a, const void *b, size_t length)
{
    typedef u64 __attribute__((may_alias, aligned(1))) word;
    const unsigned char *x = a, *y = b;
    for (; length >= 8 && *(const word *)x == *(const word *)y; length -= 8, x += 8, y += 8)
        ;
    for (; length; length--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}
