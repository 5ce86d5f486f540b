/*
 * Misbehaves on command: the service rpmsg-crash takes text, answers "ok COMMAND", and does it. "help" lists the
 * commands.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "mailbox.h"
#include "remote.h"
#include "semihosting.h"
#include "string.h"

#define NOWHERE 0x70001238u /* nothing is mapped there on any board */

static struct rpmsg_endpoint endpoint;
static uint32_t client; /* who sent the command */

/* ---- the processor crashes ---- */

static void do_fault(unsigned argument)
{
    (void)argument;
    *(volatile uint32_t *)(uintptr_t)NOWHERE = 1;
}

static void do_read(unsigned argument)
{
    (void)argument;
    (void)*(volatile uint32_t *)(uintptr_t)NOWHERE;
}

static void do_jump(unsigned argument)
{
    (void)argument;
    ((void (*)(void))(uintptr_t)(NOWHERE | 1u))(); /* bit 0 says Thumb on Arm and is ignored on RISC-V */
}

static void do_undef(unsigned argument)
{
    (void)argument;
#if defined(__arm__)
    __asm__ volatile("udf #0");
#else
    __asm__ volatile("unimp");
#endif
}

static unsigned recurse(unsigned depth)
{
    volatile unsigned frame[16];

    frame[depth % 16] = depth;
    return depth == 0xFFFFFFFFu ? 0 : recurse(depth + 1) + frame[depth % 16];
}

static void do_stack(unsigned argument)
{
    (void)recurse(argument);
}

static void do_abort(unsigned argument)
{
    (void)argument;
    trace("crash: abort");
    cpu_crash();
}

/* ---- it runs on, but does not answer ---- */

static void do_loop(unsigned argument)
{
    (void)argument;
    (void)cpu_mask();
    for (;;)
        __asm__ volatile("");
}

static void do_sleep(unsigned argument)
{
    (void)argument;
    (void)cpu_mask();
    mailbox_end();
    for (;;)
        cpu_sleep();
}

static void do_flood(unsigned argument)
{
    static uint32_t number;

    do {
        number++;
    } while (rpmsg_send_to(&endpoint, client, &number, sizeof(number)) == RPMSG_OK && --argument != 0);
}

/* ---- it ends ---- */

static void do_exit(unsigned argument)
{
    rpmsg_destroy(&endpoint);
    rpmsg_flush(&remote);
    semihosting_exit(argument);
}

/* ---- it breaks the protocol ---- */

static void kick(void)
{
    remote.port.kick(remote.port.context, 0);
}

static void do_used_index(unsigned argument)
{
    remote.r2h.used->idx = (uint16_t)(remote.r2h.used->idx + (argument != 0 ? argument : 1000u));
    kick();
}

static void push(uint32_t head, uint32_t len)
{
    volatile struct vring_used *used = remote.r2h.used;
    volatile struct vring_used_elem *element = &used->ring[used->idx & (remote.r2h.num - 1)];

    element->id = head;
    element->len = len;
    used->idx = (uint16_t)(used->idx + 1);
    kick();
}

static void do_used_id(unsigned argument)
{
    push(argument != 0 ? argument : 0xFFFFu, 16);
}

static void do_used_length(unsigned argument)
{
    uint32_t capacity;

    if (rpmsg_reserve(&remote, &capacity, true) != NULL)
        push(remote.spare.head, argument != 0 ? argument : 0xFFFFFFFFu);
}

static void do_twice(unsigned argument)
{
    uint32_t capacity;

    (void)argument;
    if (rpmsg_reserve(&remote, &capacity, true) != NULL) {
        push(remote.spare.head, 16);
        push(remote.spare.head, 16);
    }
}

/* Sends a buffer whose header says another length than the used ring. */
static void do_header_length(unsigned argument)
{
    uint32_t capacity;

    if (rpmsg_reserve(&remote, &capacity, true) != NULL) {
        const struct rpmsg_header header = {
            .src = endpoint.addr,
            .dst = client,
            .len = (uint16_t)(argument != 0 ? argument : 0xFFFFu),
        };

        memcpy(remote.spare.data, &header, sizeof(header));
        push(remote.spare.head, sizeof(header));
    }
}

static void do_name_service(unsigned argument)
{
    static const char nonsense[40] = "\xFF\xFE%s%n/../ no name at all, and no end xx";

    (void)rpmsg_send_to(&endpoint, RPMSG_NS_ADDR, nonsense, argument != 0 && argument < 40 ? argument : 40);
}

/* ---- commands ---- */

static void do_help(unsigned argument);

static const struct command {
    const char *name;
    void (*run)(unsigned argument);
} commands[] = {
    {"help", do_help},
    {"fault", do_fault},                 /* writes where nothing is */
    {"read", do_read},                   /* reads where nothing is */
    {"jump", do_jump},                   /* executes where nothing is */
    {"undef", do_undef},                 /* executes an undefined instruction */
    {"stack", do_stack},                 /* recurses without end */
    {"abort", do_abort},                 /* traces a reason and crashes on purpose */
    {"loop", do_loop},                   /* loops with interrupts masked */
    {"sleep", do_sleep},                 /* sleeps and hears nothing */
    {"flood", do_flood},                 /* N: sends N messages, 0 for ever */
    {"exit", do_exit},                   /* N: ends with status N, by semihosting */
    {"used-index", do_used_index},       /* N: lets the used index jump by N */
    {"used-id", do_used_id},             /* N: returns a descriptor that does not exist */
    {"used-length", do_used_length},     /* N: claims to have written N bytes */
    {"twice", do_twice},                 /* returns one descriptor twice */
    {"header-length", do_header_length}, /* N: a header with a wrong length */
    {"name-service", do_name_service},   /* N: an announcement of nonsense, N bytes of it */
};

#define NUM_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void do_help(unsigned argument)
{
    char text[NUM_COMMANDS * 16];
    uint32_t len = 0;

    (void)argument;
    for (unsigned i = 0; i < NUM_COMMANDS; i++) {
        for (const char *name = commands[i].name; *name != '\0'; name++)
            text[len++] = *name;
        text[len++] = ' ';
    }
    (void)rpmsg_send_to(&endpoint, client, text, len - 1);
}

/* Returns the length of `name` when the text begins with it as a word, or 0. */
static uint32_t match(const char *name, const char *text, uint32_t len)
{
    uint32_t i = 0;

    while (name[i] != '\0' && i < len && text[i] == name[i])
        i++;
    return name[i] == '\0' && (i == len || text[i] == ' ' || text[i] == '\n' || text[i] == '\0') ? i : 0;
}

static unsigned number_after(const char *text, uint32_t len)
{
    unsigned number = 0;

    for (uint32_t i = 0; i < len; i++) {
        if (text[i] >= '0' && text[i] <= '9')
            number = number * 10 + (unsigned)(text[i] - '0');
    }
    return number;
}

static void on_message(struct rpmsg_endpoint *self, const void *data, uint32_t len, uint32_t src)
{
    static const char unknown[] = "unknown command; try help";
    const char *text = data;

    client = src;
    if (remote_is_shutdown(data, len)) {
        remote_stop();
        return;
    }
    for (unsigned i = 0; i < NUM_COMMANDS; i++) {
        uint32_t used = match(commands[i].name, text, len);

        if (used != 0) {
            unsigned argument = number_after(text + used, len - used);
            char answer[40] = "ok ";

            trace("crash: %s %u", commands[i].name, argument);
            memcpy(answer + 3, commands[i].name, used);
            (void)rpmsg_send_to(self, src, answer, 3 + used);
            rpmsg_flush(&remote); /* this callback may not return */
            commands[i].run(argument);
            return;
        }
    }
    (void)rpmsg_send_to(self, src, unknown, sizeof(unknown) - 1);
}

int main(void)
{
    trace("crash: started");
    remote_start();
    if (rpmsg_create(&remote, &endpoint, "rpmsg-crash", RPMSG_ADDR_ANY, on_message) == RPMSG_OK)
        trace("crash: announced rpmsg-crash at address %u", (unsigned)endpoint.addr);
    remote_run();
    return 0;
}
