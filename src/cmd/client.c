#include "cmd/client.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/loop.h"
#include "net/sock.h"
#include "wire/codec.h"

#define RESEND_MS     1000
#define PROBE_MS      1000       /* of the plain connect that explains a silence */
#define PROBE_SOON_MS 100        /* of the one after the first second */
#define FRAME_MAX     (64 << 20) /* 1,000 rows with long names are a few MiB; pages of events more */

/* An answer and what it borrows from. */
typedef struct reply {
    struct reply *next;
    buf frame;
    arena arena;
    msg m;
} reply;

struct client {
    char *server;
    int64_t timeout_ms;
    addr_list list;
    int at; /* endpoint of `list` that is connected */
    sock *s;
    loop *l;
    uint64_t r;  /* number of the last question */
    bool hinted; /* said once that we wait */
    buf frame;
    reply *last; /* made when needed */
    reply *kept;
};

/* The loop calls it when something is there; client_ask() looks for itself. */
static void on_readable(void *ctx)
{
    (void)ctx;
}

static volt_code wrap_server(volt_err *err, const char *server)
{
    volt_err why;

    if (!err)
        return VOLT_EUNREACHABLE;
    why = *err;
    return volt_fail(err, VOLT_EUNREACHABLE,
                     "cannot reach dispatcher at %s (%s); is 'volt dispatcher' running?", server,
                     why.msg);
}

volt_code client_open(const char *server, int64_t timeout_ms, client **ret, volt_err *err)
{
    const sock_options options = { .frame_max = FRAME_MAX, .send_hwm = 100, .recv_hwm = 100 };
    client *c;
    addr a;
    addr_list list;
    volt_code code = addr_parse(server, &a, err);

    if (code)
        return code;
    if (addr_resolve(&a, 1, &list, err))
        return wrap_server(err, server);
    c = NEW(client);
    c->server = mem_strdup(server);
    c->timeout_ms = timeout_ms;
    c->list = list;
    c->l = loop_new();
    code = sock_new(SOCK_DEALER, &options, &c->s, err);
    if (!code)
        code = loop_add_sock(c->l, c->s, on_readable, c, err);
    if (!code)
        code = sock_connect(c->s, c->list.v[0], err);
    if (code) {
        client_free(c);
        return code;
    }
    *ret = c;
    return VOLT_OK;
}

volt_code client_new(const command_line *line, client **ret, volt_err *err)
{
    return client_open(command_text(line, "dispatcher-server"), command_ms(line, "timeout"), ret,
                       err);
}

static void free_reply(reply *a)
{
    if (!a)
        return;
    buf_free(&a->frame);
    arena_free(&a->arena);
    free(a);
}

void client_free(client *c)
{
    if (!c)
        return;
    loop_free(c->l);
    sock_free(c->s);
    buf_free(&c->frame);
    free_reply(c->last);
    while (c->kept) {
        reply *next = c->kept->next;

        free_reply(c->kept);
        c->kept = next;
    }
    free(c->server);
    free(c);
}

void client_keep(client *c)
{
    assert(c->last);
    c->last->next = c->kept;
    c->kept = c->last;
    c->last = NULL;
}

const char *client_server(const client *c)
{
    return c->server;
}

void client_new_sid(char ret[33])
{
    unsigned char bytes[16];

    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(ret, 33, bytes, sizeof bytes);
}

/* Sends the question, after the first time through the name's next address. */
static volt_code send_question(client *c, bool first, volt_err *err)
{
    volt_code code;

    if (!first && c->list.n > 1) { /* also drops what still waits in the old connection */
        sock_disconnect(c->s, c->list.v[c->at], NULL);
        c->at = (c->at + 1) % c->list.n;
        code = sock_connect(c->s, c->list.v[c->at], err);
        if (code)
            return code;
    }
    code = sock_send(c->s, 0, (slice){ 0 }, buf_slice(&c->frame), err);
    return code == VOLT_EAGAIN ? VOLT_OK : code; /* earlier copies wait to be sent already */
}

/* True when an answer to the present question was taken into c->last. */
static bool take_answer(client *c, volt_code *code, volt_err *err)
{
    slice payload;

    if (!c->last)
        c->last = NEW(reply);
    while (sock_recv(c->s, NULL, NULL, &payload, NULL) == VOLT_OK) {
        reply *a = c->last;

        buf_clear(&a->frame);
        buf_add_slice(&a->frame, payload);
        arena_reset(&a->arena);
        *code = wire_decode(buf_slice(&a->frame), &a->arena, &a->m, err);
        if (*code) {
            volt_wrap(err, *code, "answer of the dispatcher at %s", c->server);
            return true;
        }
        if (a->m.r == c->r) /* else: to a question that was asked twice, or given up */
            return true;
    }
    return false;
}

/* On a terminal, whoever waits longer than a second is told why. */
static void hint(client *c)
{
    volt_err why;

    if (c->hinted || !isatty(STDERR_FILENO))
        return;
    c->hinted = true;
    if (addr_probe(&c->list, PROBE_SOON_MS, &why))
        fprintf(stderr, "dispatcher at %s: %s; still trying\n", c->server, why.msg);
}

static volt_code no_answer(client *c, volt_err *err)
{
    char text[TEXT_DURATION_MAX];

    if (addr_probe(&c->list, PROBE_MS, err))
        return wrap_server(err, c->server);
    return volt_fail(
        err, VOLT_EUNREACHABLE,
        "no answer from the dispatcher at %s within %s, though something listens there", c->server,
        text_show_ms(c->timeout_ms, text));
}

/* An answer that says no, as an error. */
static volt_code fail_refused(code why, slice words, volt_err *err)
{
    volt_code code;

    switch (why) {
    case CODE_NOT_FOUND:
        code = VOLT_ENOTFOUND;
        break;
    case CODE_BAD_MSG:
        code = VOLT_EMSG;
        break;
    case CODE_VERSION:
        code = VOLT_EVERSION;
        break;
    case CODE_DISK:
    case CODE_BUSY:
        code = VOLT_EAGAIN;
        break;
    default:
        code = VOLT_EREFUSED;
        break;
    }
    if (words.n)
        return volt_fail(err, code, SLICE_FMT, SLICE_ARG(words));
    return volt_fail(err, code, "refused by the dispatcher: %s", code_text(why));
}

static volt_code check_answer(client *c, msg_type asked, msg_type expected, volt_err *err)
{
    const msg *m = &c->last->m;

    if (m->type == expected)
        return VOLT_OK;
    if (m->type == MSG_err)
        return fail_refused(m->err.code, m->err.msg, err);
    if (m->type == MSG_rejected)
        return fail_refused(m->rejected.code, m->rejected.msg, err);
    return volt_fail(err, VOLT_EMSG, "the dispatcher at %s answered '%s' to '%s'", c->server,
                     msg_type_text(m->type), msg_type_text(asked));
}

volt_code client_ask(client *c, const msg *question, msg_type expected, const msg **ret,
                     volt_err *err)
{
    int64_t start = loop_now_ms(), end = start + c->timeout_ms, resend = start;
    msg numbered = *question;
    volt_code code = VOLT_OK;

    numbered.r = ++c->r;
    buf_clear(&c->frame);
    wire_encode(&numbered, &c->frame);
    while (!take_answer(c, &code, err)) {
        int64_t now = loop_now_ms();

        if (now >= end && now > start)
            return no_answer(c, err);
        if (now >= resend) {
            bool first = resend == start;

            code = send_question(c, first, err);
            if (code)
                return code;
            if (!first)
                hint(c);
            resend = now + RESEND_MS;
        }
        code = loop_wait(c->l, resend < end ? resend : end, NULL, err);
        if (code)
            return code;
    }
    if (!code)
        code = check_answer(c, question->type, expected, err);
    if (!code)
        *ret = &c->last->m;
    return code;
}
