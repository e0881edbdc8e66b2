/* The observations, the shared page and the report port. */
#include "report.h"

#include "table.h"

#define OBSERVATIONS 512

u64 arguments[8] __attribute__((section(".data")));
u64 observations[OBSERVATIONS];
char shared[4096];
static unsigned observed;

static void report(unsigned event, unsigned argument)
{
    out32(REPORT_PORT, event << 24 | argument);
}

static _Noreturn void end(unsigned event, unsigned argument)
{
    report(event, argument);
    for (;;)
        asm volatile("cli; hlt");
}

void observe(u64 value)
{
    if (observed < OBSERVATIONS)
        observations[observed++] = value;
}

void message(const char *text)
{
    unsigned length = 0;
    while (text[length] && length < sizeof shared - 1) {
        shared[length] = text[length];
        length++;
    }
    report(EVENT_MESSAGE, length);
}

void done(void)
{
    end(EVENT_DONE, observed);
}

void fault(unsigned vector)
{
    end(EVENT_FAULT, vector);
}
