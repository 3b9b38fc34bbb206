#include "exec/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static char work[64];

static int make_work(void **state)
{
    (void)state;
    strcpy(work, "/tmp/volt-spool-XXXXXX");
    return mkdtemp(work) ? 0 : -1;
}

static int remove_work(void **state)
{
    char *path = mem_printf("%s/spool", work);
    spool_id *v = NULL;
    size_t n = 0;

    (void)state;
    spool_scan(work, &v, &n, NULL);
    for (size_t i = 0; i < n; i++)
        spool_delete(work, v[i]);
    free(v);
    rmdir(path);
    free(path);
    return rmdir(work);
}

static const spool_id ID = { 42, 3 };

static void keeps_every_part_and_gives_it_back(void **state)
{
    spool *s, *again;
    buf b = { 0 };
    slice rest, f;
    char to[16];
    size_t n;

    (void)state;
    assert_int_equal(spool_create(work, ID, SLICE("assigned"), &s, NULL), VOLT_OK);
    assert_int_equal(spool_add(s, SPOOL_TESTS, SLICE("first"), NULL), VOLT_OK);
    assert_int_equal(spool_add(s, SPOOL_TESTS, SLICE(""), NULL), VOLT_OK);
    assert_int_equal(spool_add(s, SPOOL_TESTS, SLICE("third"), NULL), VOLT_OK);
    assert_int_equal(write(spool_stream_fd(s, PART_LOG), "0123456789", 10), 10);

    assert_int_equal(spool_open(work, ID, &again, NULL), VOLT_OK);
    assert_false(spool_has_result(again));
    assert_int_equal(spool_finish(s, SLICE("ended"), NULL), VOLT_OK);
    assert_true(spool_has_result(again));

    assert_int_equal(spool_read(again, SPOOL_ASSIGN, 100, &b, NULL), VOLT_OK);
    assert_string_equal(buf_str(&b), "assigned");
    buf_clear(&b);
    assert_int_equal(spool_read(again, SPOOL_RESULT, 4, &b, NULL), VOLT_EFULL);
    buf_clear(&b);
    assert_int_equal(spool_read(again, SPOOL_PLAN, 100, &b, NULL), VOLT_OK);
    assert_int_equal(b.n, 0);
    assert_int_equal(spool_read(again, SPOOL_TESTS, 100, &b, NULL), VOLT_OK);
    rest = buf_slice(&b);
    assert_true(spool_next(&rest, &f) && slice_is(f, "first"));
    assert_true(spool_next(&rest, &f) && f.n == 0);
    assert_true(spool_next(&rest, &f) && slice_is(f, "third"));
    assert_false(spool_next(&rest, &f));

    assert_int_equal(spool_read_stream(again, PART_LOG, 4, to, sizeof to, &n, NULL), VOLT_OK);
    assert_int_equal(n, 6);
    assert_memory_equal(to, "456789", 6);
    assert_int_equal(spool_read_stream(again, PART_LOG, 10, to, sizeof to, &n, NULL), VOLT_OK);
    assert_int_equal(n, 0);
    buf_free(&b);
    spool_free(s);
    spool_free(again);
}

/* Of a killed executor, or of a full disk. */
static void a_torn_last_record_is_none(void **state)
{
    static const char torn[] = "\5\0\0\0\4ab";
    char *path = mem_printf("%s/spool/42-3", work);
    buf b = { 0 };
    spool *s;
    FILE *f;

    (void)state;
    assert_int_equal(spool_create(work, ID, SLICE("a"), &s, NULL), VOLT_OK);
    spool_free(s);
    f = fopen(path, "a");
    assert_int_equal(fwrite(torn, 1, sizeof torn - 1, f), sizeof torn - 1);
    fclose(f);
    assert_int_equal(spool_open(work, ID, &s, NULL), VOLT_OK);
    assert_false(spool_has_result(s));
    assert_int_equal(spool_read(s, SPOOL_RESULT, 100, &b, NULL), VOLT_OK);
    assert_int_equal(b.n, 0);
    assert_int_equal(spool_read(s, SPOOL_ASSIGN, 100, &b, NULL), VOLT_OK);
    assert_string_equal(buf_str(&b), "a");
    spool_free(s);
    buf_free(&b);
    free(path);
}

static void an_attempt_has_one_spool(void **state)
{
    spool *s = NULL, *other = NULL;

    (void)state;
    assert_int_equal(spool_open(work, ID, &other, NULL), VOLT_ENOTFOUND);
    assert_int_equal(spool_create(work, ID, SLICE("a"), &s, NULL), VOLT_OK);
    assert_int_equal(spool_create(work, ID, SLICE("b"), &other, NULL), VOLT_EEXISTS);
    spool_free(s);
}

static void reading_no_log_makes_none(void **state)
{
    char *log = mem_printf("%s/spool/42-3.log", work);
    spool *s;
    char to[4];
    size_t n = 9;

    (void)state;
    assert_int_equal(spool_create(work, ID, SLICE("a"), &s, NULL), VOLT_OK);
    assert_int_equal(spool_read_stream(s, PART_LOG, 0, to, sizeof to, &n, NULL), VOLT_OK);
    assert_int_equal(n, 0);
    assert_int_equal(access(log, F_OK), -1);
    spool_free(s);
    free(log);
}

static void a_scan_finds_attempts_in_order_and_clears_the_rest(void **state)
{
    static const spool_id ids[] = { { 10, 1 }, { 9, 2 }, { 9, 1 } };
    char *stray = mem_printf("%s/spool/7-1.log", work);
    char *kept = mem_printf("%s/spool/10-1.log", work);
    char *strange = mem_printf("%s/spool/09-1", work);
    spool_id *v;
    size_t n;
    spool *s;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(spool_create(work, ids[i], SLICE("a"), &s, NULL), VOLT_OK);
        spool_free(s);
    }
    fclose(fopen(stray, "w"));
    fclose(fopen(kept, "w"));
    assert_int_equal(mkdir(strange, 0700), 0);
    assert_int_equal(spool_scan(work, &v, &n, NULL), VOLT_OK);
    assert_int_equal(n, 3);
    assert_true(v[0].task == 9 && v[0].att == 1);
    assert_true(v[1].task == 9 && v[1].att == 2);
    assert_true(v[2].task == 10 && v[2].att == 1);
    assert_int_equal(access(stray, F_OK), -1);
    assert_int_equal(access(kept, F_OK), 0);
    free(v);

    spool_delete(work, ids[0]);
    spool_delete(work, ids[0]);
    assert_int_equal(spool_scan(work, &v, &n, NULL), VOLT_OK);
    assert_int_equal(n, 2);
    free(v);
    rmdir(strange);
    free(stray);
    free(kept);
    free(strange);
}

static void an_open_spool_outlives_its_deletion(void **state)
{
    spool *s;
    char to[4];
    size_t n;

    (void)state;
    assert_int_equal(spool_create(work, ID, SLICE("a"), &s, NULL), VOLT_OK);
    assert_int_equal(write(spool_stream_fd(s, PART_LOG), "abcd", 4), 4);
    spool_delete(work, ID);
    assert_int_equal(write(spool_stream_fd(s, PART_LOG), "efgh", 4), 4);
    assert_int_equal(spool_read_stream(s, PART_LOG, 4, to, 4, &n, NULL), VOLT_OK);
    assert_memory_equal(to, "efgh", 4);
    assert_int_equal(spool_finish(s, SLICE("x"), NULL), VOLT_ENOTFOUND);
    spool_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeps_every_part_and_gives_it_back, make_work, remove_work),
        cmocka_unit_test_setup_teardown(a_torn_last_record_is_none, make_work, remove_work),
        cmocka_unit_test_setup_teardown(an_attempt_has_one_spool, make_work, remove_work),
        cmocka_unit_test_setup_teardown(reading_no_log_makes_none, make_work, remove_work),
        cmocka_unit_test_setup_teardown(a_scan_finds_attempts_in_order_and_clears_the_rest,
                                        make_work, remove_work),
        cmocka_unit_test_setup_teardown(an_open_spool_outlives_its_deletion, make_work,
                                        remove_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
