/* A follower's story is told in a line a call: `+5` applies, `ask 3 from 5` asks, … */
#include "core/follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

typedef struct story {
    follow *f;
    follow_acts acts;
    buf text;
} story;

static void story_begin(story *s, uint64_t from)
{
    follow_config config = { .from = from, .early_max = 4, .page = 3, .seed = 1 };

    *s = (story){ .f = follow_new(&config, 0) };
}

static void tell(story *s)
{
    for (size_t i = 0; i < s->acts.n; i++) {
        const follow_act *a = &s->acts.v[i];

        if (s->text.n)
            buf_addc(&s->text, ' ');
        switch (a->kind) {
        case FOLLOW_APPLY:
            assert_true(slice_is(a->event->hist, A) || slice_is(a->event->hist, B));
            buf_addf(&s->text, "+%llu", (unsigned long long)a->event->seq);
            break;
        case FOLLOW_ASK:
            buf_addf(&s->text, "ask%llu(%.1s,%llu,%llu)", (unsigned long long)a->r,
                     a->replay.hist.n ? a->replay.hist.p : "-", (unsigned long long)a->replay.from,
                     (unsigned long long)a->replay.max);
            break;
        case FOLLOW_FLOOR:
        case FOLLOW_SKIP:
            buf_addf(&s->text, "%s(%llu-%llu)", a->kind == FOLLOW_FLOOR ? "floor" : "skip",
                     (unsigned long long)a->from, (unsigned long long)a->to);
            break;
        case FOLLOW_NEW_HIST:
            buf_addf(&s->text, "new(%.1s,%llu)", a->hist.p, (unsigned long long)a->from);
            break;
        }
    }
}

/* What was told since the last expect() must be `want`. */
#define expect(s, want)                                 \
    do {                                                \
        assert_string_equal(buf_str(&(s)->text), want); \
        buf_clear(&(s)->text);                          \
    } while (0)

static void event(story *s, int64_t now_ms, const char *hist, uint64_t seq)
{
    char *borrowed = mem_strdup(hist); /* freed at once: whatever is kept must be a copy */
    msg_event e = { .hist = { borrowed, 32 }, .seq = seq, .kind = EVENT_QUEUED, .ep = 1 };

    follow_event(s->f, now_ms, &e, &s->acts);
    tell(s);
    memset(borrowed, 'x', 32);
    free(borrowed);
}

static void head(story *s, int64_t now_ms, const char *hist, uint64_t ep, uint64_t last)
{
    msg_head h = { .hist = slice_of(hist), .ep = ep, .last = last };

    follow_head(s->f, now_ms, &h, &s->acts);
    tell(s);
}

/* Items from..to; `hole` (0: none) cannot be decoded. */
static void page(story *s, int64_t now_ms, uint64_t r, const char *hist, uint64_t floor,
                 uint64_t last, uint64_t from, uint64_t to, uint64_t hole)
{
    msg_event items[16] = { { .seq = 0 } };
    slice frames[16] = { 0 };
    msg_events p = { .hist = slice_of(hist), .floor = floor, .last = last, .next = to + 1 };

    for (uint64_t seq = from; seq <= to; seq++) {
        msg_event *e = &items[p.items.n++];

        if (seq != hole)
            *e = (msg_event){ .hist = slice_of(hist), .seq = seq, .kind = EVENT_QUEUED, .ep = 1 };
    }
    p.items.v = frames;
    follow_page(s->f, now_ms, r, &p, items, &s->acts);
    tell(s);
}

static void tick(story *s, int64_t now_ms)
{
    follow_tick(s->f, now_ms, &s->acts);
    tell(s);
}

static void story_end(story *s)
{
    follow_free(s->f);
    follow_acts_free(&s->acts);
    buf_free(&s->text);
}

static void applies_what_comes_in_order_once(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    assert_true(follow_next_deadline_ms(s.f) == INT64_MAX);
    event(&s, 10, A, 7);
    event(&s, 11, A, 8);
    event(&s, 12, A, 8);
    event(&s, 13, A, 6);
    event(&s, 14, A, 9);
    expect(&s, "+7 +8 +9");
    assert_true(follow_is_current(s.f));
    story_end(&s);
}

static void begins_behind_the_first_head_when_only_live_is_wanted(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    head(&s, 10, A, 1, 40);
    event(&s, 11, A, 40);
    event(&s, 12, A, 41);
    expect(&s, "+41");
    story_end(&s);
}

static void replays_from_the_start_in_pages_then_goes_on_live(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_START);
    tick(&s, 0);
    expect(&s, "ask1(-,1,3)");
    event(&s, 5, A, 6); /* published meanwhile: kept */
    page(&s, 10, 1, A, 1, 5, 1, 3, 0);
    expect(&s, "+1 +2 +3 ask2(a,4,3)");
    page(&s, 20, 2, A, 1, 6, 4, 6, 0);
    expect(&s, "+4 +5 +6");
    event(&s, 21, A, 7);
    expect(&s, "+7");
    assert_true(follow_is_current(s.f));
    story_end(&s);
}

static void asks_at_once_when_a_number_is_missing(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    event(&s, 10, A, 1);
    event(&s, 11, A, 3);
    event(&s, 12, A, 4);
    expect(&s, "+1 ask1(a,2,3)");
    page(&s, 15, 1, A, 1, 4, 2, 4, 0);
    expect(&s, "+2 +3 +4"); /* 3 from the buffer, its double from the page dropped */
    story_end(&s);
}

static void repairs_reordering_without_the_answer(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    event(&s, 10, A, 1);
    event(&s, 11, A, 4);
    event(&s, 12, A, 3);
    event(&s, 13, A, 2);
    expect(&s, "+1 ask1(a,2,3) +2 +3 +4");
    page(&s, 15, 1, A, 1, 4, 2, 4, 0);
    expect(&s, "");
    assert_true(follow_is_current(s.f));
    story_end(&s);
}

static void drops_what_is_beyond_the_buffer_and_gets_it_by_replay(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    event(&s, 10, A, 1);
    event(&s, 11, A, 7); /* places for 2..5 only */
    expect(&s, "+1 ask1(a,2,3)");
    page(&s, 12, 1, A, 1, 7, 2, 4, 0);
    page(&s, 13, 2, A, 1, 7, 5, 7, 0);
    expect(&s, "+2 +3 +4 ask2(a,5,3) +5 +6 +7");
    story_end(&s);
}

static void notices_a_gap_at_the_end_through_the_head(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    event(&s, 0, A, 1);
    head(&s, 1000, A, 1, 2);
    head(&s, 2000, A, 1, 2);
    assert_int_equal(follow_next_deadline_ms(s.f), 1000 + FOLLOW_BEHIND_MS);
    assert_false(follow_is_current(s.f));
    tick(&s, 2999);
    expect(&s, "+1");
    tick(&s, 3000);
    expect(&s, "ask1(a,2,3)");
    story_end(&s);
}

static void does_not_ask_when_the_event_comes_behind_its_head(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    event(&s, 0, A, 1);
    head(&s, 1000, A, 1, 2);
    event(&s, 1100, A, 2);
    tick(&s, 3500);
    expect(&s, "+1 +2");
    story_end(&s);
}

static void repeats_a_question_ever_more_slowly(void **unused)
{
    story s;
    int64_t last_ms = 0, wait_ms = FOLLOW_RETRY_MS;

    (void)unused;
    story_begin(&s, 5);
    tick(&s, 0);
    expect(&s, "ask1(-,5,3)");
    for (int i = 2; i < 9; i++) {
        int64_t at_ms = follow_next_deadline_ms(s.f);

        assert_in_range(at_ms - last_ms, wait_ms * 8 / 10, wait_ms * 12 / 10);
        tick(&s, at_ms - 1);
        assert_int_equal(s.acts.n, 0);
        tick(&s, at_ms);
        assert_int_equal(s.acts.n, 1);
        last_ms = at_ms;
        wait_ms = wait_ms * 2 < FOLLOW_RETRY_MAX ? wait_ms * 2 : FOLLOW_RETRY_MAX;
    }
    buf_clear(&s.text);
    page(&s, last_ms, 3, A, 1, 5, 5, 5, 0); /* a late answer does no harm … */
    page(&s, last_ms, 8, A, 1, 5, 5, 5, 0); /* … and the newest question stays open until its own */
    expect(&s, "+5");
    assert_true(follow_is_current(s.f));
    story_end(&s);
}

static void waits_before_it_asks_again_when_an_answer_brings_nothing(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, 1);
    tick(&s, 0);
    page(&s, 10, 1, A, 1, 9, 1, 0, 0); /* no items, though there are some: over its budget */
    expect(&s, "ask1(-,1,3)");
    tick(&s, 10 + FOLLOW_RETRY_MS - 1);
    expect(&s, "");
    tick(&s, 10 + FOLLOW_RETRY_MS);
    expect(&s, "ask2(a,1,3)");
    story_end(&s);
}

static void asks_when_nothing_at_all_is_heard(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    head(&s, 0, A, 1, 3);
    assert_int_equal(follow_next_deadline_ms(s.f), FOLLOW_SILENCE_MS);
    tick(&s, FOLLOW_SILENCE_MS);
    expect(&s, "ask1(a,4,3)");
    page(&s, 5100, 1, A, 1, 4, 4, 4, 0);
    expect(&s, "+4");
    assert_int_equal(follow_next_deadline_ms(s.f), 5100 + FOLLOW_SILENCE_MS);
    story_end(&s);
}

static void says_what_is_no_longer_kept(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, 3);
    tick(&s, 0);
    event(&s, 5, A, 11);
    page(&s, 10, 1, A, 9, 10, 9, 10, 0);
    expect(&s, "ask1(-,3,3) floor(3-8) +9 +10");
    event(&s, 20, A, 11);
    expect(&s, "+11");
    story_end(&s);
}

static void passes_over_an_event_that_cannot_be_read(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, 3);
    tick(&s, 0);
    page(&s, 10, 1, A, 1, 5, 3, 5, 4);
    expect(&s, "ask1(-,3,3) +3 skip(4-4) +5");
    assert_true(follow_is_current(s.f));
    story_end(&s);
}

static void starts_anew_when_the_dispatcher_has_another_history(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, 3);
    tick(&s, 0);
    page(&s, 10, 1, A, 1, 4, 3, 4, 0);
    expect(&s, "ask1(-,3,3) +3 +4");
    head(&s, 100, B, 1, 8); /* only a hint: asks the dispatcher */
    event(&s, 200, A, 5);
    expect(&s, "+5");
    tick(&s, 100 + FOLLOW_RETRY_MS);
    expect(&s, "ask2(a,6,3)");
    page(&s, 1200, 2, B, 7, 8, 7, 8, 0);
    expect(&s, "new(b,7) +7 +8");
    event(&s, 1300, A, 9); /* a late one of the old history: asked about, not believed */
    tick(&s, 2300);
    page(&s, 2400, 3, B, 7, 8, 9, 8, 0);
    event(&s, 2500, B, 9);
    expect(&s, "ask3(b,9,3) +9");
    story_end(&s);
}

static void is_not_led_back_by_a_late_answer_of_the_old_history(void **unused)
{
    story s;
    int64_t at_ms;

    (void)unused;
    story_begin(&s, 1);
    tick(&s, 0);
    at_ms = follow_next_deadline_ms(s.f);
    tick(&s, at_ms);
    page(&s, at_ms + 1, 2, B, 1, 1, 1, 1, 0);
    page(&s, at_ms + 2, 1, A, 1, 3, 1, 3, 0);
    expect(&s, "ask1(-,1,3) ask2(-,1,3) +1");
    event(&s, at_ms + 3, B, 2);
    expect(&s, "+2");
    story_end(&s);
}

static void starts_anew_when_the_history_went_back(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, 1);
    tick(&s, 0);
    page(&s, 10, 1, A, 1, 3, 1, 3, 0);
    expect(&s, "ask1(-,1,3) +1 +2 +3");
    head(&s, 20, A, 2, 2); /* started anew, from an old copy of its data */
    page(&s, 30, 2, A, 1, 2, 3, 2, 0);
    page(&s, 40, 3, A, 1, 2, 1, 2, 0);
    expect(&s, "ask2(a,4,3) new(a,1) ask3(a,1,3) +1 +2");
    story_end(&s);
}

static void takes_an_answer_older_than_live_events_for_what_it_is(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    event(&s, 0, A, 1);
    tick(&s, FOLLOW_SILENCE_MS);
    event(&s, 5001, A, 2);
    event(&s, 5002, A, 3);
    page(&s, 5003, 1, A, 1, 1, 2, 1, 0);
    expect(&s, "+1 ask1(a,2,3) +2 +3");
    story_end(&s);
}

static void waits_for_a_number_that_is_still_to_come(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, 100);
    tick(&s, 0);
    page(&s, 10, 1, A, 1, 98, 100, 99, 0);
    event(&s, 20, A, 99);
    event(&s, 30, A, 100);
    expect(&s, "ask1(-,100,3) +100");
    story_end(&s);
}

static void is_current_only_when_nothing_is_open(void **unused)
{
    story s;

    (void)unused;
    story_begin(&s, FOLLOW_LIVE);
    assert_false(follow_is_current(s.f)); /* nothing was heard yet */
    event(&s, 10, A, 7);
    assert_true(follow_is_current(s.f));
    head(&s, 11, A, 1, 8); /* the event may be on its way */
    assert_false(follow_is_current(s.f));
    event(&s, 12, A, 8);
    assert_true(follow_is_current(s.f));
    event(&s, 13, A, 10);
    assert_false(follow_is_current(s.f)); /* asked */
    expect(&s, "+7 +8 ask1(a,9,3)");
    story_end(&s);
}

static void asks_for_no_more_than_a_page_holds(void **unused)
{
    follow_config config = {
        .from = FOLLOW_LIVE, .hist = SLICE(A), .page = 100000, .early_max = 4, .seed = 1
    };
    story s = { .f = follow_new(&config, 0) };

    (void)unused;
    event(&s, 10, B, 7); /* live is wanted: whatever history there is */
    event(&s, 11, B, 9);
    expect(&s, "+7 ask1(b,8,1000)");
    story_end(&s);
    follow_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applies_what_comes_in_order_once),
        cmocka_unit_test(begins_behind_the_first_head_when_only_live_is_wanted),
        cmocka_unit_test(replays_from_the_start_in_pages_then_goes_on_live),
        cmocka_unit_test(asks_at_once_when_a_number_is_missing),
        cmocka_unit_test(repairs_reordering_without_the_answer),
        cmocka_unit_test(drops_what_is_beyond_the_buffer_and_gets_it_by_replay),
        cmocka_unit_test(notices_a_gap_at_the_end_through_the_head),
        cmocka_unit_test(does_not_ask_when_the_event_comes_behind_its_head),
        cmocka_unit_test(repeats_a_question_ever_more_slowly),
        cmocka_unit_test(waits_before_it_asks_again_when_an_answer_brings_nothing),
        cmocka_unit_test(asks_when_nothing_at_all_is_heard),
        cmocka_unit_test(says_what_is_no_longer_kept),
        cmocka_unit_test(passes_over_an_event_that_cannot_be_read),
        cmocka_unit_test(starts_anew_when_the_dispatcher_has_another_history),
        cmocka_unit_test(is_not_led_back_by_a_late_answer_of_the_old_history),
        cmocka_unit_test(starts_anew_when_the_history_went_back),
        cmocka_unit_test(takes_an_answer_older_than_live_events_for_what_it_is),
        cmocka_unit_test(waits_for_a_number_that_is_still_to_come),
        cmocka_unit_test(is_current_only_when_nothing_is_open),
        cmocka_unit_test(asks_for_no_more_than_a_page_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
