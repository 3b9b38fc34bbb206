#include "cmd/observer/link.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/sock.h"
#include "wire/codec.h"

#define PATIENCE_MS 2500 /* a dispatcher at this address beats its head each second */
#define ENDPOINTS   3

enum { INTAKE, WORK, EVENTS }; /* offsets to the base port */

struct observer_link {
    loop *l;
    addr dispatcher;
    sock *socks[ENDPOINTS];
    addr_list lists[ENDPOINTS];
    int at;                                   /* in the lists; -1: the next one is the first */
    char endpoints[ENDPOINTS][ADDR_TEXT_MAX]; /* connected; empty: none yet */
    int64_t next_ms;
    bool told_unresolved;
    log_limit bad;
    observer_link_fn fn;
    void *ctx;
    arena arena;
    buf frame;
};

static void take(observer_link *k, slice payload)
{
    msg m;
    volt_err err;
    uint64_t held;

    arena_reset(&k->arena);
    if (wire_decode(payload, &k->arena, &m, &err) == VOLT_OK)
        k->fn(k->ctx, &m);
    else if (log_limit_pass(&k->bad, loop_now_ms(), &held))
        log_warn("not understood what the dispatcher said: %s (%llu more like it)", err.msg,
                 (unsigned long long)held);
}

static void drain(observer_link *k, sock *s)
{
    slice payload;
    volt_err err;
    volt_code code;

    while ((code = sock_recv(s, NULL, NULL, &payload, &err)) == VOLT_OK)
        take(k, payload);
    if (code != VOLT_EAGAIN)
        log_error("%s", err.msg);
}

static void on_events(void *ctx)
{
    observer_link *k = ctx;

    drain(k, k->socks[EVENTS]);
}

static void on_answers(void *ctx)
{
    observer_link *k = ctx;

    drain(k, k->socks[WORK]);
}

/* The name's addresses anew: a dispatcher may have moved. */
static bool resolve(observer_link *k)
{
    addr_list lists[ENDPOINTS];
    volt_err err;

    for (int i = 0; i < ENDPOINTS; i++)
        if (addr_resolve(&k->dispatcher, i, &lists[i], &err)) {
            if (!k->told_unresolved)
                log_warn("%s; trying again", err.msg);
            k->told_unresolved = true;
            return false;
        }
    k->told_unresolved = false;
    memcpy(k->lists, lists, sizeof k->lists);
    return true;
}

static void connect_next(observer_link *k)
{
    volt_err err;

    if (++k->at >= k->lists[0].n) {
        k->at = -1;
        if (!resolve(k))
            return;
        k->at = 0;
    }
    if (strcmp(k->endpoints[0], k->lists[0].v[k->at]) == 0)
        return; /* libzmq reconnects by itself */
    for (int i = 0; i < ENDPOINTS; i++) {
        if (*k->endpoints[i])
            sock_disconnect(k->socks[i], k->endpoints[i], NULL);
        memcpy(k->endpoints[i], k->lists[i].v[k->at], sizeof k->endpoints[i]);
        if (sock_connect(k->socks[i], k->endpoints[i], &err))
            log_error("%s", err.msg);
    }
}

volt_code observer_link_new(loop *l, const addr *dispatcher, const char *obs, observer_link_fn fn,
                            void *ctx, observer_link **ret, volt_err *err)
{
    static const sock_kind kinds[ENDPOINTS] = { SOCK_PUSH, SOCK_DEALER, SOCK_SUB };
    const sock_options options = { .frame_max = WIRE_WORK_MAX };
    observer_link *k = NEW(observer_link);
    char *topic = mem_printf("a.%s.", obs);
    volt_code code = VOLT_OK;

    k->l = l;
    k->dispatcher = *dispatcher;
    k->fn = fn;
    k->ctx = ctx;
    for (int i = 0; i < ENDPOINTS && !code; i++)
        code = sock_new(kinds[i], &options, &k->socks[i], err);
    /* In this order: whoever hears a head beat is subscribed to his answers too. */
    if (!code)
        code = sock_subscribe(k->socks[EVENTS], slice_of(topic), err);
    if (!code)
        code = sock_subscribe(k->socks[EVENTS], SLICE("h."), err);
    if (!code)
        code = loop_add_sock(l, k->socks[EVENTS], on_events, k, err);
    if (!code)
        code = loop_add_sock(l, k->socks[WORK], on_answers, k, err);
    free(topic);
    if (code) {
        observer_link_free(k);
        return code;
    }
    k->at = -1;
    connect_next(k);
    k->next_ms = loop_now_ms() + PATIENCE_MS;
    *ret = k;
    return VOLT_OK;
}

void observer_link_free(observer_link *k)
{
    if (!k)
        return;
    for (int i = 0; i < ENDPOINTS; i++)
        if (k->socks[i]) {
            loop_remove_sock(k->l, k->socks[i]);
            sock_free(k->socks[i]);
        }
    arena_free(&k->arena);
    buf_free(&k->frame);
    free(k);
}

volt_code observer_link_push(observer_link *k, slice frame, volt_err *err)
{
    return sock_send(k->socks[INTAKE], 0, (slice){ 0 }, frame, err);
}

void observer_link_query(observer_link *k, const msg *question)
{
    buf_clear(&k->frame);
    wire_encode(question, &k->frame);
    /* One that is lost is as if it were not answered: the submission is sent again in its time. */
    sock_send(k->socks[WORK], 0, (slice){ 0 }, buf_slice(&k->frame), NULL);
}

void observer_link_tick(observer_link *k, int64_t now_ms, bool heard)
{
    if (now_ms < k->next_ms)
        return;
    k->next_ms = now_ms + PATIENCE_MS;
    if (!heard)
        connect_next(k);
}

int64_t observer_link_deadline_ms(const observer_link *k)
{
    return k->next_ms;
}
