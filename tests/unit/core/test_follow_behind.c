/* A follower that cannot keep up: it was stopped for an hour, or events come faster than it takes
 * them.  Between it and the dispatcher is what ZeroMQ has there: a queue that drops when full. */
#include "core/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"

#define HIST      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define QUEUE_MAX 5000 /* of published messages, as high-water marks of both ends make it */
#define PAGE      1000
#define TRIP_MS   5 /* of a question and its answer */
#define HOUR_MS   (3600 * 1000)

typedef struct queued {
    bool head;
    uint64_t seq; /* of the event; the newest one of a head */
} queued;

typedef struct world {
    int64_t now_ms;
    uint64_t last, floor;
    queued queue[QUEUE_MAX];
    size_t at, n;
    uint64_t dropped;

    follow *f;
    follow_acts acts;
    uint64_t expected; /* to be applied next */
    uint64_t told_floor;
    uint64_t asked, r, from; /* questions so far, the newest one, and what it wants */
    int64_t answer_ms;       /* when its answer is there; 0: none is on its way */
    int64_t busy_ms;         /* until when it is at work on the last page */
} world;

static void begin(world *w)
{
    w->floor = 1;
    w->expected = 1;
    w->f = follow_new(&(follow_config){ .from = FOLLOW_START, .seed = 1 }, 0);
}

static void end(world *w)
{
    follow_free(w->f);
    follow_acts_free(&w->acts);
}

static void publish(world *w, queued q)
{
    if (w->n == QUEUE_MAX)
        w->dropped++;
    else
        w->queue[(w->at + w->n++) % QUEUE_MAX] = q;
}

static void happen(world *w, uint64_t events)
{
    while (events--)
        publish(w, (queued){ .seq = ++w->last });
    if (w->now_ms % 1000 == 0)
        publish(w, (queued){ .head = true, .seq = w->last });
}

static void carry_out(world *w)
{
    for (size_t i = 0; i < w->acts.n; i++) {
        const follow_act *a = &w->acts.v[i];

        switch (a->kind) {
        case FOLLOW_APPLY:
            assert_int_equal(a->event->seq, w->expected);
            w->expected++;
            break;
        case FOLLOW_ASK:
            w->asked++;
            w->r = a->r;
            w->from = a->replay.from;
            w->answer_ms = w->now_ms + TRIP_MS;
            break;
        case FOLLOW_FLOOR:
            assert_int_equal(a->from, w->expected);
            assert_int_equal(a->to, w->floor - 1);
            w->expected = a->to + 1;
            w->told_floor++;
            break;
        case FOLLOW_SKIP:
        case FOLLOW_NEW_HIST:
            fail_msg("nothing of that kind happened");
        }
    }
}

static msg_event event_of(uint64_t seq)
{
    return (msg_event){ .hist = SLICE(HIST), .seq = seq, .ep = 1, .kind = EVENT_QUEUED };
}

static void answer(world *w, size_t most)
{
    static slice frames[PAGE];
    msg_event items[PAGE];
    msg_events page = { .hist = SLICE(HIST), .floor = w->floor, .last = w->last };

    page.next = w->from > w->floor ? w->from : w->floor;
    while (page.items.n < PAGE && page.next <= w->last)
        items[page.items.n++] = event_of(page.next++);
    page.items.v = frames;
    w->answer_ms = 0;
    w->busy_ms = w->now_ms + (int64_t)(page.items.n / most);
    follow_page(w->f, w->now_ms, w->r, &page, items, &w->acts);
    carry_out(w);
}

/* The follower's process runs for a millisecond, in which it takes `most` events. */
static void run(world *w, size_t most)
{
    if (w->now_ms < w->busy_ms)
        return;
    for (size_t n = most; n && w->n; n--) {
        queued q = w->queue[w->at];
        msg_event e = event_of(q.seq);
        msg_head h = { .hist = SLICE(HIST), .ep = 1, .last = q.seq };

        w->at = (w->at + 1) % QUEUE_MAX;
        w->n--;
        if (q.head)
            follow_head(w->f, w->now_ms, &h, &w->acts);
        else
            follow_event(w->f, w->now_ms, &e, &w->acts);
        carry_out(w);
    }
    if (w->answer_ms && w->now_ms >= w->answer_ms)
        answer(w, most);
    if (follow_next_deadline_ms(w->f) <= w->now_ms) {
        follow_tick(w->f, w->now_ms, &w->acts);
        carry_out(w);
    }
}

static void pass(world *w, int64_t ms, uint64_t events_a_ms, size_t most)
{
    for (int64_t until = w->now_ms + ms; w->now_ms < until;) {
        w->now_ms++;
        happen(w, events_a_ms);
        if (most)
            run(w, most);
    }
}

static void is_told_everything_after_an_hour_without_running(void **unused)
{
    world *w = NEW(world);
    uint64_t before, asked;

    (void)unused;
    begin(w);
    pass(w, 1000, 1, 100);
    before = w->expected;
    asked = w->asked;
    for (int second = 0; second < HOUR_MS / 1000; second++) { /* 100 events a second, in bursts */
        happen(w, 100);
        w->now_ms += 1000;
        publish(w, (queued){ .head = true, .seq = w->last });
    }
    assert_true(w->last - before > 359000);
    assert_true(w->dropped > 350000);

    pass(w, 10000, 1, 100);
    assert_true(follow_is_current(w->f) || w->last - w->expected < 10);
    assert_true(w->last + 1 - w->expected < 10);
    /* It asks for what it lacks once: a page each time, and a few when live ones overtake. */
    assert_in_range(w->asked - asked, 350, 380);
    end(w);
    free(w);
}

static void is_told_what_is_no_longer_kept_after_an_hour(void **unused)
{
    world *w = NEW(world);

    (void)unused;
    begin(w);
    pass(w, 1000, 1, 100);
    for (int second = 0; second < HOUR_MS / 1000; second++) {
        happen(w, 100);
        w->now_ms += 1000;
    }
    w->floor = w->last - 1000; /* retention went on meanwhile */
    pass(w, 10000, 1, 100);
    assert_int_equal(w->told_floor, 1);
    assert_true(w->last + 1 - w->expected < 10);
    end(w);
    free(w);
}

/* 50,000 events a second for 20 s, of which it takes 20,000: it lives on replay, then catches up.
 */
static void loses_nothing_when_events_come_faster_than_it_takes_them(void **unused)
{
    world *w = NEW(world);
    uint64_t asked;

    (void)unused;
    begin(w);
    pass(w, 20000, 50, 20);
    assert_true(w->dropped > 100000);
    assert_int_equal(w->last, 1000000);
    assert_true(w->last - w->expected > 500000);
    asked = w->asked;
    pass(w, 35000, 0, 20);
    assert_true(w->asked - asked < 700); /* one question at a time, and a whole page each */
    assert_int_equal(w->expected, w->last + 1);
    assert_true(follow_is_current(w->f));
    end(w);
    free(w);
}

static void comes_late_to_a_flood_and_catches_up_while_it_lasts(void **unused)
{
    world *w = NEW(world);

    (void)unused;
    begin(w);
    pass(w, 5000, 50, 0);   /* it is not there yet */
    pass(w, 20000, 50, 80); /* somewhat faster than they come */
    assert_true(w->last + 1 - w->expected <= 2 * QUEUE_MAX);
    pass(w, 5000, 0, 80);
    assert_int_equal(w->expected, w->last + 1);
    end(w);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_told_everything_after_an_hour_without_running),
        cmocka_unit_test(is_told_what_is_no_longer_kept_after_an_hour),
        cmocka_unit_test(loses_nothing_when_events_come_faster_than_it_takes_them),
        cmocka_unit_test(comes_late_to_a_flood_and_catches_up_while_it_lasts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
