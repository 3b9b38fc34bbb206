#include "store/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"

#define PIECE 65536

/* What the next calls come to: this program's own are called in place of the C library's. */
static struct {
    int write_errno, back_errno, sync_errno;
    size_t write_max; /* bytes that one write takes; 0: all */
} disk;

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
    if (disk.write_errno) {
        errno = disk.write_errno;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, p, disk.write_max && n > disk.write_max ? disk.write_max : n,
                   off);
}

int sync_file_range(int fd, off_t off, off_t n, unsigned flags)
{
    (void)fd, (void)off, (void)n;
    errno = flags & SYNC_FILE_RANGE_WAIT_AFTER ? disk.back_errno : 0;
    return errno ? -1 : 0;
}

int fdatasync(int fd)
{
    (void)fd;
    errno = disk.sync_errno;
    return errno ? -1 : 0;
}

typedef struct scene {
    char dir[64];
    logs *logs;
} scene;

static int set_up(void **state)
{
    scene *s = NEW(scene);
    volt_err err;

    snprintf(s->dir, sizeof s->dir, "/tmp/volt-logs-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_int_equal(logs_open(s->dir, &s->logs, &err), VOLT_OK);
    *state = s;
    return 0;
}

static const log_name first = { 1, 1, PART_LOG };

static int tear_down(void **state)
{
    scene *s = *state;
    char path[128];

    logs_close(s->logs);
    for (uint64_t task = 1; task <= 100; task++) {
        snprintf(path, sizeof path, "%s/logs/%llu-1", s->dir, (unsigned long long)task);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/logs", s->dir);
    assert_int_equal(rmdir(path), 0); /* nothing else was left there */
    assert_int_equal(rmdir(s->dir), 0);
    free(s);
    return 0;
}

static void write_piece(scene *s, uint64_t task, uint64_t off, slice bytes)
{
    volt_err err;

    if (logs_write(s->logs, &(log_name){ task, 1, PART_LOG }, off, bytes, &err))
        fail_msg("%s", err.msg);
}

static void assert_holds(scene *s, uint64_t task, uint64_t off, slice expected)
{
    buf got = { 0 };
    volt_err err;

    assert_int_equal(
        logs_read(s->logs, &(log_name){ task, 1, PART_LOG }, off, expected.n + 1, &got, &err),
        VOLT_OK);
    assert_int_equal(got.n, expected.n); /* and not a byte more */
    assert_memory_equal(buf_str(&got), expected.p, expected.n);
    buf_free(&got);
}

/* Longer than what is written back behind, so that every path of it is gone. */
static void keeps_a_long_log_as_it_came(void **state)
{
    scene *s = *state;
    size_t n = (size_t)20 << 20;
    char *bytes = mem_zero(n);
    prng rng = { 7 };
    volt_err err;

    for (size_t i = 0; i < n; i += 8) {
        uint64_t x = prng_next(&rng);

        memcpy(bytes + i, &x, sizeof x);
    }
    for (size_t off = 0; off < n; off += PIECE)
        write_piece(s, 1, off, (slice){ bytes + off, PIECE });
    assert_int_equal(logs_sync(s->logs, &first, n, &err), VOLT_OK);
    assert_holds(s, 1, 0, (slice){ bytes, n });
    free(bytes);
}

static void overwrites_what_comes_again_and_cuts_what_was_not_confirmed(void **state)
{
    scene *s = *state;
    volt_err err;

    write_piece(s, 1, 0, SLICE("first, and a tail nobody confirmed"));
    write_piece(s, 1, 0, SLICE("first"));
    assert_int_equal(logs_sync(s->logs, &first, 5, &err), VOLT_OK);
    assert_holds(s, 1, 0, SLICE("first"));
    assert_holds(s, 1, 3, SLICE("st"));
    assert_holds(s, 1, 9, SLICE(""));
}

static void serves_more_logs_than_it_keeps_open(void **state)
{
    scene *s = *state;
    char text[32];

    for (uint64_t round = 0; round < 2; round++)
        for (uint64_t task = 1; task <= 100; task++) {
            snprintf(text, sizeof text, "%03llu", (unsigned long long)task);
            write_piece(s, task, 3 * round, slice_of(text));
        }
    for (uint64_t task = 1; task <= 100; task++) {
        snprintf(text, sizeof text, "%03llu%03llu", (unsigned long long)task,
                 (unsigned long long)task);
        assert_holds(s, task, 0, slice_of(text));
    }
}

static void counts_the_bytes_of_all_files(void **state)
{
    scene *s = *state;
    volt_err err;
    store *db;

    for (uint64_t task = 1; task <= 100; task++) /* more than are kept open */
        write_piece(s, task, 0, SLICE("ten bytes!"));
    assert_int_equal(logs_bytes(s->logs), 1000);
    write_piece(s, 1, 5, SLICE("ytes!"));
    assert_int_equal(logs_bytes(s->logs), 1000);
    write_piece(s, 1, 5, SLICE("ytes! and more"));
    assert_int_equal(logs_bytes(s->logs), 1009);
    assert_int_equal(logs_sync(s->logs, &first, 4, &err), VOLT_OK);
    assert_int_equal(logs_bytes(s->logs), 994);
    write_piece(s, 1, 4, SLICE("!"));
    logs_remove(s->logs, &first);
    logs_remove(s->logs, &first);
    assert_int_equal(logs_bytes(s->logs), 990);
    write_piece(s, 2, 10, SLICE("lost"));
    disk.sync_errno = EIO;
    assert_int_equal(logs_sync(s->logs, &(log_name){ 2, 1, PART_LOG }, 14, &err), VOLT_EIO);
    disk.sync_errno = 0;
    assert_int_equal(logs_bytes(s->logs), 980);
    logs_close(s->logs);
    assert_int_equal(logs_open(s->dir, &s->logs, &err), VOLT_OK);
    assert_int_equal(store_open_memory(&db), VOLT_OK); /* knows none of them: all are newer */
    assert_int_equal(logs_sweep(s->logs, db, &err), VOLT_OK);
    store_close(db);
    assert_int_equal(logs_bytes(s->logs), 980);
}

static void knows_nothing_of_a_log_that_is_gone(void **state)
{
    scene *s = *state;

    write_piece(s, 1, 0, SLICE("x"));
    logs_remove(s->logs, &first);
    logs_remove(s->logs, &first);
    assert_holds(s, 1, 0, SLICE(""));
}

static void takes_short_writes_on(void **state)
{
    scene *s = *state;
    volt_err err;

    disk.write_max = 3;
    write_piece(s, 1, 0, SLICE("ten bytes!"));
    disk.write_max = 0;
    assert_int_equal(logs_sync(s->logs, &first, 10, &err), VOLT_OK);
    assert_holds(s, 1, 0, SLICE("ten bytes!"));
}

static void goes_on_when_there_is_room_again(void **state)
{
    static const int full[] = { ENOSPC, EDQUOT, EFBIG };
    scene *s = *state;
    volt_err err;

    write_piece(s, 1, 0, SLICE("first"));
    for (size_t i = 0; i < sizeof full / sizeof *full; i++) {
        disk.write_errno = full[i];
        assert_int_equal(logs_write(s->logs, &first, 5, SLICE(" more"), &err), VOLT_EFULL);
    }
    disk.write_errno = EIO;
    assert_int_equal(logs_write(s->logs, &first, 5, SLICE(" more"), &err), VOLT_EIO);
    disk.write_errno = 0;
    write_piece(s, 1, 5, SLICE(" more"));
    assert_holds(s, 1, 0, SLICE("first more"));
}

/* The kernel tells of it once: a sync at the end would succeed. */
static void tells_of_what_could_not_be_written_back(void **state)
{
    static char piece[PIECE];
    scene *s = *state;
    volt_code code = VOLT_OK;
    volt_err err;

    disk.back_errno = EIO;
    for (uint64_t off = 0; off < 20 << 20 && code == VOLT_OK; off += PIECE)
        code = logs_write(s->logs, &first, off, (slice){ piece, PIECE }, &err);
    assert_int_equal(code, VOLT_EIO);
    disk.back_errno = EINVAL; /* a file system that has no such thing */
    write_piece(s, 1, 0, (slice){ piece, PIECE });
    disk.back_errno = 0;
}

static void keeps_nothing_of_what_could_not_be_synced(void **state)
{
    scene *s = *state;
    volt_err err;

    write_piece(s, 1, 0, SLICE("lost"));
    disk.sync_errno = EIO;
    assert_int_equal(logs_sync(s->logs, &first, 4, &err), VOLT_EIO);
    disk.sync_errno = 0;
    assert_holds(s, 1, 0, SLICE(""));
    write_piece(s, 1, 0, SLICE("sent again"));
    assert_int_equal(logs_sync(s->logs, &first, 10, &err), VOLT_OK);
    assert_holds(s, 1, 0, SLICE("sent again"));
}

static void keep_task(store *db, uint64_t task, state at, uint64_t artifact_bytes)
{
    const row r = { .kind = ROW_TASK,
                    .task = { .task = task,
                              .build = 1,
                              .job = ROW_JOB_PLAN,
                              .kind = TASK_PLAN,
                              .state = at,
                              .att = 2,
                              .artifact_bytes = artifact_bytes } };
    volt_err err;

    assert_int_equal(db->ops->put(db, &r, (slice){ 0 }, &err), VOLT_OK);
}

/* Of tasks 1 (forgotten), 2 (ended with artifacts), 3 (ended without) and 4 (under way), and of 9,
 * which the store has not heard of yet: it may be an old copy. */
static void sweeps_away_what_nobody_has(void **state)
{
    static const struct {
        log_name name;
        bool stays;
    } files[] = {
        { { 1, 1, PART_LOG }, false },      { { 1, 1, PART_ARTIFACTS }, false },
        { { 2, 1, PART_LOG }, true },       { { 2, 1, PART_ARTIFACTS }, false },
        { { 2, 2, PART_ARTIFACTS }, true }, { { 2, 3, PART_ARTIFACTS }, true },
        { { 3, 2, PART_LOG }, true },       { { 3, 2, PART_ARTIFACTS }, false },
        { { 4, 2, PART_ARTIFACTS }, true }, { { 9, 1, PART_ARTIFACTS }, true },
        { { 9, 1, PART_LOG }, true },
    };
    const size_t n = sizeof files / sizeof *files;
    scene *s = *state;
    store *db;
    volt_err err;

    assert_int_equal(store_open_memory(&db), VOLT_OK);
    keep_task(db, 2, STATE_FINAL, 5);
    keep_task(db, 3, STATE_FINAL, 0);
    keep_task(db, 4, STATE_RUNNING, 0);
    assert_int_equal(db->ops->commit(db, &err), VOLT_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(logs_write(s->logs, &files[i].name, 0, SLICE("x"), &err), VOLT_OK);
    assert_int_equal(logs_sweep(s->logs, db, &err), VOLT_OK);
    for (size_t i = 0; i < n; i++) {
        const log_name *f = &files[i].name;
        char path[160];

        snprintf(path, sizeof path, "%s/logs/%llu-%llu%s", s->dir, (unsigned long long)f->task,
                 (unsigned long long)f->att, f->part == PART_ARTIFACTS ? ".artifacts" : "");
        if ((access(path, F_OK) == 0) != files[i].stays)
            fail_msg("%s is %s", path, files[i].stays ? "gone" : "still there");
        unlink(path);
    }
    store_close(db);
}

static void keeps_the_streams_of_an_attempt_apart(void **state)
{
    static const log_name artifacts = { 1, 1, PART_ARTIFACTS };
    scene *s = *state;
    buf got = { 0 };
    volt_err err;

    write_piece(s, 1, 0, SLICE("log"));
    assert_int_equal(logs_write(s->logs, &artifacts, 0, SLICE("archive"), &err), VOLT_OK);
    assert_int_equal(logs_sync(s->logs, &artifacts, 7, &err), VOLT_OK);
    assert_holds(s, 1, 0, SLICE("log"));
    assert_int_equal(logs_read(s->logs, &artifacts, 0, 99, &got, &err), VOLT_OK);
    assert_string_equal(buf_str(&got), "archive");
    logs_remove(s->logs, &artifacts);
    assert_holds(s, 1, 0, SLICE("log"));
    buf_free(&got);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(keeps_a_long_log_as_it_came),
        TEST(sweeps_away_what_nobody_has),
        TEST(keeps_the_streams_of_an_attempt_apart),
        TEST(overwrites_what_comes_again_and_cuts_what_was_not_confirmed),
        TEST(serves_more_logs_than_it_keeps_open),
        TEST(counts_the_bytes_of_all_files),
        TEST(knows_nothing_of_a_log_that_is_gone),
        TEST(takes_short_writes_on),
        TEST(goes_on_when_there_is_room_again),
        TEST(tells_of_what_could_not_be_written_back),
        TEST(keeps_nothing_of_what_could_not_be_synced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
