/* A dispatcher with a table, a network that loses, doubles and delays, and a follower: many seeds.
 */
#include "core/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"

#define SOAK_MS  60000
#define WIRE_CAP 4096
#define HISTS    3

typedef struct packet {
    int64_t due_ms;
    enum { PACKET_EVENT, PACKET_HEAD, PACKET_PAGE, PACKET_REPLAY } kind;
    unsigned hist;
    uint64_t seq, r, floor, last;
} packet;

typedef struct world {
    prng rng;
    packet wire[WIRE_CAP];
    size_t n;
    unsigned hist; /* the dispatcher's; counts up */
    uint64_t last, floor;
    uint64_t floors[HISTS];
    bool told;         /* the follower applied something */
    bool quiet;        /* faults stopped */
    unsigned at_hist;  /* what the follower was told */
    uint64_t expected; /* what it must apply next; 0: anything */
    follow *f;
    follow_acts acts;
} world;

static const char *const hists[HISTS] = { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                          "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                                          "cccccccccccccccccccccccccccccccc" };

static void put_on_wire(world *w, int64_t now_ms, packet p)
{
    int64_t delay_ms = w->quiet                           ? 1
                       : (int64_t)prng_below(&w->rng, 10) ? (int64_t)prng_below(&w->rng, 20)
                                                          : (int64_t)prng_below(&w->rng, 4000);

    if (w->n == WIRE_CAP || (!w->quiet && prng_below(&w->rng, 100) < 10))
        return;
    p.due_ms = now_ms + delay_ms;
    w->wire[w->n++] = p;
    if (!w->quiet && prng_below(&w->rng, 100) < 5)
        put_on_wire(w, now_ms, p);
}

static void carry_out(world *w, int64_t now_ms)
{
    for (size_t i = 0; i < w->acts.n; i++) {
        const follow_act *a = &w->acts.v[i];

        switch (a->kind) {
        case FOLLOW_APPLY:
            if (!w->told) /* whichever history it found first */
                while (!slice_is(a->event->hist, hists[w->at_hist]))
                    assert_true(++w->at_hist < HISTS);
            w->told = true;
            assert_true(slice_is(a->event->hist, hists[w->at_hist]));
            if (w->expected)
                assert_int_equal(a->event->seq, w->expected);
            assert_int_equal(a->event->n, a->event->seq * 3);
            w->expected = a->event->seq + 1;
            break;
        case FOLLOW_ASK:
            put_on_wire(w, now_ms,
                        (packet){ .kind = PACKET_REPLAY, .r = a->r, .seq = a->replay.from });
            break;
        case FOLLOW_FLOOR:
            assert_true(a->from == w->expected || !w->expected);
            assert_true(a->to < w->floors[w->at_hist]);
            w->expected = a->to + 1;
            break;
        case FOLLOW_NEW_HIST:
            while (!slice_is(a->hist, hists[w->at_hist]))
                assert_true(++w->at_hist < HISTS);
            w->expected = a->from;
            break;
        case FOLLOW_SKIP:
            fail_msg("everything could be read");
        }
    }
}

static msg_event event_of(unsigned hist, uint64_t seq)
{
    return (msg_event){
        .hist = slice_of(hists[hist]), .seq = seq, .ep = 1, .kind = EVENT_QUEUED, .n = seq * 3
    };
}

static void deliver(world *w, int64_t now_ms, const packet *p)
{
    msg_event items[3] = { { .seq = 0 } };
    slice frames[3] = { 0 };
    msg_events answer = { .hist = slice_of(hists[p->hist]), .floor = p->floor, .last = p->last };
    msg_head beat = { .hist = answer.hist, .ep = 1, .last = p->last };

    switch (p->kind) {
    case PACKET_REPLAY: {
        packet back = { .kind = PACKET_PAGE,
                        .hist = w->hist,
                        .r = p->r,
                        .seq = p->seq,
                        .floor = w->floor,
                        .last = w->last };

        put_on_wire(w, now_ms, back);
        return;
    }
    case PACKET_EVENT:
        items[0] = event_of(p->hist, p->seq);
        follow_event(w->f, now_ms, &items[0], &w->acts);
        break;
    case PACKET_HEAD:
        follow_head(w->f, now_ms, &beat, &w->acts);
        break;
    case PACKET_PAGE:
        answer.next = p->seq > p->floor ? p->seq : p->floor;
        for (; answer.items.n < 3 && answer.next <= p->last; answer.next++)
            items[answer.items.n++] = event_of(p->hist, answer.next);
        answer.items.v = frames;
        follow_page(w->f, now_ms, p->r, &answer, items, &w->acts);
        break;
    }
    carry_out(w, now_ms);
}

static void live(world *w, int64_t now_ms)
{
    if (!w->quiet && prng_below(&w->rng, 40) == 0) {
        packet p = { .kind = PACKET_EVENT, .hist = w->hist, .seq = ++w->last };

        put_on_wire(w, now_ms, p);
    }
    if (!w->quiet && prng_below(&w->rng, 5000) == 0)
        w->floor += prng_below(&w->rng, w->last - w->floor + 2);
    if (!w->quiet && w->hist + 1 < HISTS && prng_below(&w->rng, 20000) == 0) {
        w->hist++;
        w->floor = 1;
        w->last = prng_below(&w->rng, 50);
    }
    w->floors[w->hist] = w->floor;
    if (now_ms % 1000 == 0)
        put_on_wire(w, now_ms, (packet){ .kind = PACKET_HEAD, .hist = w->hist, .last = w->last });
    for (size_t i = 0; i < w->n;) {
        packet p = w->wire[i];

        if (p.due_ms > now_ms) {
            i++;
            continue;
        }
        w->wire[i] = w->wire[--w->n];
        deliver(w, now_ms, &p);
    }
    if (follow_next_deadline_ms(w->f) <= now_ms) {
        follow_tick(w->f, now_ms, &w->acts);
        carry_out(w, now_ms);
        assert_true(follow_next_deadline_ms(w->f) > now_ms);
    }
}

/* Whatever the network does: in order, without a gap; and 20 s after it behaves, everything. */
static void equals_the_table_whatever_is_lost_doubled_and_late(void **unused)
{
    static world w;

    (void)unused;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t from = seed % 3;

        w = (world){ .rng = { seed }, .floor = 1, .expected = from };
        w.f = follow_new(&(follow_config){ .from = from, .early_max = 4, .page = 3, .seed = seed },
                         0);
        for (int64_t now_ms = 1; now_ms <= SOAK_MS; now_ms++) {
            w.quiet = now_ms > SOAK_MS - 20000;
            live(&w, now_ms);
        }
        if (w.hist != w.at_hist || w.expected != w.last + 1 || !follow_is_current(w.f))
            fail_msg("seed %llu: history %u at %llu, told %u up to %llu", (unsigned long long)seed,
                     w.hist, (unsigned long long)w.last, w.at_hist,
                     (unsigned long long)w.expected - 1);
        follow_free(w.f);
        follow_acts_free(&w.acts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_table_whatever_is_lost_doubled_and_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
