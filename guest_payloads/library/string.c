#include "string.h"

void *memcpy(void *to, const void *from, size_t length)
{
    void *at = to;
    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(length) : : "memory");
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
    asm volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(byte) : "memory");
    return at;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const unsigned char *x = a, *y = b;
    for (; length; length--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}
