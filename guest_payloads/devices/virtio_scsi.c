/* A driver of virtio-scsi: a request is what goes out and what comes in, each a header and data in pieces.
   VIRTIO 1.2, "SCSI Host Device". */
#include "scsi.h"
#include "virtio.h"

enum { REQUESTS = 2, CHAIN = 2 + PIECES };

struct command { u8 lun[8]; u64 id; u8 attribute, priority, crn, cdb[32]; } __attribute__((packed));
struct response { u32 sense_length, residual; u16 qualifier; u8 status, response, sense[96]; };

static struct queue commands_queue __attribute__((aligned(4096)));
static struct command commands[DEPTH];
static struct response responses[DEPTH];
static bool messages;

static bool use_messages(void) { return messages = true; }

static void start(void)
{
    find(0x1004, 0x1048);
    negotiate(0);
    if (messages)
        take_messages(REQUESTS, VECTOR);
    set_up(&commands_queue, REQUESTS);
    commands_queue.available.flags = 1;  /* no interrupts yet */
    go();
}

static void queue(unsigned n, const struct request *request)
{
    unsigned at = CHAIN * n, next = at;
    commands[n] = (struct command){.lun = {1, request->target, 0x40}, .id = n};
    memcpy(commands[n].cdb, request->cdb, sizeof request->cdb);
    describe(&commands_queue, next++, &commands[n], sizeof commands[n], DESC_NEXT);
    for (unsigned i = 0; request->write && i < request->count; i++)
        describe(&commands_queue, next++, request->pieces[i].at, request->pieces[i].length, DESC_NEXT);
    describe(&commands_queue, next++, &responses[n], sizeof responses[n], DESC_WRITE | DESC_NEXT);
    for (unsigned i = 0; !request->write && i < request->count; i++)
        describe(&commands_queue, next++, request->pieces[i].at, request->pieces[i].length, DESC_WRITE | DESC_NEXT);
    commands_queue.descriptors[next - 1].flags &= ~DESC_NEXT;
    offer(&commands_queue, at);
}

static void post(void) { ring(&commands_queue); }

static void reap(void)
{
    while (came(&commands_queue)) {
        u32 length;
        unsigned n = take(&commands_queue, &length) / CHAIN % DEPTH;
        if (responses[n].sense_length)
            memcpy(sense, responses[n].sense, sizeof sense);
        end(n, responses[n].response, responses[n].status);
    }
}

static void irq_on(void) { commands_queue.available.flags = 0; }
static bool irq_cause(void) { return *isr & 1; }
