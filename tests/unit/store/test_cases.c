/* What every backend of store.h must do: cases of units.  The same tests run on each. */
#include "contract.h"

static row case_of(uint64_t build, uint64_t i, uint64_t n, verdict v)
{
    static const slice names[] = { { "a", 1 }, { "b", 1 }, { "c", 1 }, { "d", 1 } };

    return (row){ .kind = ROW_CASE,
                  .test_case = { .build = build,
                                 .i = i,
                                 .n = n,
                                 .name = names[n % 4],
                                 .verdict = v,
                                 .duration_ms = 10 + n,
                                 .message = SLICE("m\xff") } };
}

/* "0a 2c": place and name of those that are there. */
static const char *cases(fixture *f, uint64_t build, uint64_t i, bool bad, uint64_t from,
                         size_t max)
{
    static char text[256];
    size_t before = f->rows_n, n = 0;

    text[0] = '\0';
    assert_int_equal(f->s->ops->cases(f->s, build, 0, i, bad, from, max, collect, f, &f->err),
                     VOLT_OK);
    for (size_t k = before; k < f->rows_n; k++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%d" SLICE_FMT, n ? " " : "",
                              (int)f->rows[k].test_case.n, SLICE_ARG(f->rows[k].test_case.name));
    return text;
}

static void cut(fixture *f, uint64_t build, uint64_t i, uint64_t n)
{
    const row_case from = { .build = build, .i = i, .n = n };

    assert_int_equal(f->s->ops->cut_cases(f->s, &from, &f->err), VOLT_OK);
}

static void put_cases(fixture *f)
{
    static const verdict verdicts[] = { VERDICT_PASSED, VERDICT_FAILED, VERDICT_SKIPPED,
                                        VERDICT_ERRORED };

    for (uint64_t i = 0; i < 3; i++)
        for (uint64_t n = 0; n < 4; n++)
            put(f, case_of(1, i, 3 - n, verdicts[3 - n]));
    put(f, case_of(2, 1, 0, VERDICT_FLAKY));
    commit(f);
}

static void cases_come_by_their_place(void **state_)
{
    fixture *f = *state_;

    put_cases(f);
    fixture_restart(f);
    assert_string_equal(cases(f, 1, 1, false, 0, 9), "0a 1b 2c 3d");
    assert_string_equal(cases(f, 1, 1, false, 1, 2), "1b 2c");
    assert_string_equal(cases(f, 1, 1, true, 0, 9), "1b 3d");
    assert_string_equal(cases(f, 1, 1, true, 1, 9), "3d");
    assert_string_equal(cases(f, 2, 1, false, 0, 9), "0a");
    assert_string_equal(cases(f, 2, 1, true, 0, 9), "");
    assert_string_equal(cases(f, 3, 1, false, 0, 9), "");
}

static void a_case_comes_back_whole_and_is_replaced(void **state_)
{
    fixture *f = *state_;
    row r = case_of(1, 2, 1, VERDICT_FAILED);

    put_cases(f);
    cases(f, 1, 2, true, 0, 1);
    assert_int_equal(f->rows[0].test_case.verdict, VERDICT_FAILED);
    assert_int_equal(f->rows[0].test_case.duration_ms, 11);
    assert_slice(f->rows[0].test_case.message, SLICE("m\xff"));
    r.test_case.verdict = VERDICT_PASSED;
    r.test_case.name = SLICE("z");
    put(f, r);
    assert_string_equal(cases(f, 1, 2, false, 0, 9), "0a 1z 2c 3d");
    assert_string_equal(cases(f, 1, 2, true, 0, 9), "3d");
}

static void a_cut_takes_the_end_of_one_unit(void **state_)
{
    fixture *f = *state_;

    put_cases(f);
    cut(f, 1, 1, 2);
    cut(f, 1, 9, 0);
    fixture_restart(f); /* which was not committed */
    assert_string_equal(cases(f, 1, 1, false, 0, 9), "0a 1b 2c 3d");
    cut(f, 1, 1, 2);
    cut(f, 1, 2, 0);
    commit(f);
    fixture_restart(f);
    assert_string_equal(cases(f, 1, 0, false, 0, 9), "0a 1b 2c 3d");
    assert_string_equal(cases(f, 1, 1, false, 0, 9), "0a 1b");
    assert_string_equal(cases(f, 1, 2, false, 0, 9), "");
    assert_string_equal(cases(f, 2, 1, false, 0, 9), "0a");
}

static void retention_takes_them_with_their_build(void **state_)
{
    fixture *f = *state_;
    bool more = true;

    put(f, build_row_of(1, 0, STATE_FINAL, DAY));
    put(f, build_row_of(2, 1, STATE_FINAL, 3 * DAY));
    put_cases(f);
    for (size_t slices_n = 0; more; slices_n++) {
        assert_int_equal(
            f->s->ops->prune(f->s, &(store_old){ .ended_ms = 2 * DAY, .counted = UINT64_MAX }, 5,
                             NULL, NULL, &more, &f->err),
            VOLT_OK);
        commit(f);
        assert_in_range(slices_n, 0, 3);
    }
    for (uint64_t i = 0; i < 3; i++)
        assert_string_equal(cases(f, 1, i, false, 0, 9), "");
    assert_string_equal(cases(f, 2, 1, false, 0, 9), "0a");
}

#define TESTS(ON)                               \
    ON(cases_come_by_their_place)               \
    ON(a_case_comes_back_whole_and_is_replaced) \
    ON(a_cut_takes_the_end_of_one_unit)         \
    ON(retention_takes_them_with_their_build)

int main(void)
{
    return RUN_ON_BOTH(TESTS);
}
