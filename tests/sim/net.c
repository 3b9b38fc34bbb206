#include "sim.h"

#include <stdlib.h>
#include <stdio.h>

#include "base/mem.h"

#define OUTBOX_MAX 1000
#define HEAL_MS    1000 /* what is under way for longer when the faults end never arrives */

/* ---- connections ---- */

static void drop_outbox(net_link *l)
{
    LIST_FOR_SAFE(n, &l->outbox)
    {
        list_remove(n);
        free(LIST_OWNER(n, packet, node));
    }
    l->outbox_n = 0;
}

void link_init(net_link *l, process *client, link_kind kind)
{
    l->w = client->w;
    l->client = client;
    l->kind = kind;
    l->gen = 1;
    list_init(&l->outbox);
    list_push(&l->w->links, &l->in_world);
}

static void forget_ghost(void *ctx, uint64_t peer)
{
    world *w = ctx;

    if (map_get(&w->peers, peer) == &w->ghost)
        map_remove(&w->peers, peer);
}

/* The dispatcher notices at once, or only when TCP gives up. */
static void disconnect(net_link *l, bool noticed)
{
    world *w = l->w;

    l->gen++;
    l->tries++;
    if (!l->connected)
        return;
    l->connected = false;
    map_remove(&w->peers, l->peer);
    if (!noticed && l->kind == LINK_WORK) {
        map_put(&w->peers, l->peer, &w->ghost);
        call_at(w, w->now_ms + some_ms(w, 1, 30000), forget_ghost, w, l->peer);
    }
    l->peer = 0;
}

static void transmit(net_link *l, packet *k);

static void connect_try(void *ctx, uint64_t tries)
{
    net_link *l = ctx;
    world *w = l->w;

    if (tries != l->tries || !l->open || l->connected)
        return;
    if (!dispatcher_process(w)->up || w->now_ms < l->stall_up || w->now_ms < l->stall_down) {
        call_at(w, w->now_ms + some_ms(w, 50, 300), connect_try, l, tries);
        return;
    }
    l->connected = true;
    l->peer = ++w->peers_n;
    map_put(&w->peers, l->peer, l);
    tell(w, l->client, "connects as peer %llu", (unsigned long long)l->peer);
    LIST_FOR_SAFE(n, &l->outbox)
    {
        packet *k = LIST_OWNER(n, packet, node);

        list_remove(n);
        k->gen = l->gen;
        k->peer = l->peer;
        transmit(l, k);
    }
    l->outbox_n = 0;
}

static void connect_soon(net_link *l)
{
    call_at(l->w, l->w->now_ms + some_ms(l->w, 0, 150), connect_try, l, l->tries);
}

void link_open(net_link *l)
{
    l->open = true;
    connect_soon(l);
}

void link_close(net_link *l)
{
    uint64_t gen = l->gen;

    l->open = false;
    disconnect(l, chance(l->w, 800));
    l->last_words = chance(l->w, 500) ? gen : 0; /* the kernel may have had them already */
    drop_outbox(l);
}

void link_break(net_link *l, bool noticed)
{
    if (!l->connected)
        return;
    tell(l->w, l->client, "peer %llu: connection breaks", (unsigned long long)l->peer);
    disconnect(l, noticed);
    connect_soon(l);
}

void net_dispatcher_gone(world *w)
{
    LIST_FOR(n, &w->links)
    {
        net_link *l = LIST_OWNER(n, net_link, in_world);

        l->last_words = 0;
        if (!l->connected)
            continue;
        disconnect(l, true);
        connect_soon(l);
    }
    map_free(&w->peers);
    w->peers = (map){ 0 };
}

/* ---- frames ---- */

static packet *make_packet(net_link *l, bool up, slice frame)
{
    packet *k = mem_grow(NULL, sizeof *k + frame.n, 1);

    *k = (packet){ .link = l, .gen = l->gen, .up = up, .peer = l->peer, .n = frame.n };
    if (frame.n)
        memcpy(k->bytes, frame.p, frame.n);
    return k;
}

/* When it arrives; order is kept unless the network is lossy. */
static int64_t arrival(net_link *l, bool up)
{
    world *w = l->w;
    int64_t *last = up ? &l->last_up : &l->last_down;
    int64_t stall = up ? l->stall_up : l->stall_down;
    int64_t at = w->now_ms + some_ms(w, 0, w->calm ? 5 : w->k.delay_max);

    if (w->k.lossy && !w->calm)
        return chance(w, 20) ? at + some_ms(w, 0, 5000) : at;
    if (at < stall)
        at = stall;
    if (at < *last)
        at = *last;
    *last = at;
    return at;
}

static bool is_lost(net_link *l, bool up)
{
    const world *w = l->w;

    if (!w->k.lossy || w->calm)
        return false;
    return w->now_ms < (up ? l->stall_up : l->stall_down) || chance(l->w, w->k.drop);
}

static void transmit(net_link *l, packet *k)
{
    world *w = l->w;

    hostile_saw(w, (slice){ k->bytes, k->n });
    if (is_lost(l, k->up)) {
        cover("fault", "message lost");
        free(k);
        return;
    }
    if (w->k.lossy && !w->calm && chance(w, w->k.dup)) {
        packet *again = make_packet(l, k->up, (slice){ k->bytes, k->n });

        cover("fault", "message doubled");
        heap_set(&w->packets, &again->at, arrival(l, k->up));
    }
    heap_set(&w->packets, &k->at, arrival(l, k->up));
}

bool link_send(net_link *l, slice frame)
{
    packet *k;

    if (!l->open || (!l->connected && l->outbox_n >= OUTBOX_MAX))
        return false;
    k = make_packet(l, true, frame);
    if (l->connected) {
        transmit(l, k);
    } else {
        list_push(&l->outbox, &k->node);
        l->outbox_n++;
    }
    return true;
}

bool net_send(world *w, uint64_t peer, slice frame)
{
    net_link *l = map_get(&w->peers, peer);

    if (!l)
        return false;
    if (l != &w->ghost)
        transmit(l, make_packet(l, false, frame));
    return true;
}

static bool wants(const net_link *l, slice topic)
{
    for (size_t i = 0; i < 3 && l->topics[i]; i++)
        if (slice_starts(topic, slice_of(l->topics[i])))
            return true;
    return false;
}

/* A subscriber whose buffers are full misses some, in any mode. */
void net_publish(world *w, slice topic, slice frame)
{
    LIST_FOR(n, &w->links)
    {
        net_link *l = LIST_OWNER(n, net_link, in_world);

        if (l->kind != LINK_EVENTS || !l->connected || !wants(l, topic))
            continue;
        if (chance(w, w->k.drop)) /* in the calm too: a slow reader is no fault */
            cover("fault", "publication dropped");
        else
            transmit(l, make_packet(l, false, frame));
    }
}

void net_arrive(world *w, packet *k)
{
    net_link *l = k->link;
    process *to = k->up ? dispatcher_process(w) : l->client;

    if ((k->gen != l->gen && !(k->up && k->gen == l->last_words)) || !to->up) {
        free(k);
        return;
    }
    mix(w, mix_bytes(k->peer, (slice){ k->bytes, k->n }));
    process_deliver(to, k);
}

void net_inject(net_link *l, bool up, slice frame)
{
    packet *k = make_packet(l, up, frame);

    k->hostile = true;
    heap_set(&l->w->packets, &k->at, arrival(l, up));
}

/* ---- faults ---- */

net_link *net_some_link(world *w, bool runners)
{
    size_t n = 0, i;

    LIST_FOR(p, &w->links)
    {
        const net_link *l = LIST_OWNER(p, net_link, in_world);

        n += l->connected && (!runners || l->runners);
    }
    i = n ? (size_t)pick(w, n) : 0;
    LIST_FOR(p, &w->links)
    {
        net_link *l = LIST_OWNER(p, net_link, in_world);

        if (l->connected && (!runners || l->runners) && i-- == 0)
            return l;
    }
    return NULL;
}

/* A connection breaks, stalls in one or both directions, or a machine is cut off. */
void net_fault(world *w)
{
    /* Rather a runner's than another's, for that is where most can go wrong. */
    net_link *l = net_some_link(w, chance(w, 500));
    int64_t until = w->now_ms + some_ms(w, 100,
                                        !chance(w, 300) ? 3000
                                        : w->long_haul  ? 3600000
                                                        : 40000);
    uint64_t kind = pick(w, 5);

    if (!l)
        return;
    if (kind < 2) {
        cover("fault", "connection broken");
        link_break(l, chance(w, 500));
        return;
    }
    if (kind == 2) { /* the whole machine */
        process *p = l->client;

        cover("fault", "machine cut off");
        tell(w, p, "is cut off until %.3f", (double)until / 1000);
        LIST_FOR(n, &w->links)
        {
            net_link *o = LIST_OWNER(n, net_link, in_world);

            if (o->client == p)
                o->stall_up = o->stall_down = until;
        }
        return;
    }
    cover("fault", "one way cut");
    tell(w, l->client, "one way of peer %llu stalls until %.3f", (unsigned long long)l->peer,
         (double)until / 1000);
    if (kind == 3)
        l->stall_up = until;
    else
        l->stall_down = until;
}

void net_heal(world *w)
{
    LIST_FOR(n, &w->links)
    {
        net_link *l = LIST_OWNER(n, net_link, in_world);

        l->stall_up = l->stall_down = 0;
        if (l->last_up > w->now_ms + HEAL_MS || l->last_down > w->now_ms + HEAL_MS) {
            l->last_up = l->last_down = 0; /* what is under way is lost with the connection */
            link_break(l, true);
        }
    }
}

void net_free(world *w)
{
    while (w->packets.n) {
        packet *k = HEAP_OWNER(heap_top(&w->packets), packet, at);

        heap_remove(&w->packets, &k->at);
        free(k);
    }
    heap_free(&w->packets);
    map_free(&w->peers);
}
