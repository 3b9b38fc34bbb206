#include "exec/unit_report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/report_files.h"
#include "report/junit.h"
#include "report/tap.h"

#define PIECE_SIZE ((size_t)1 << 20) /* expat looks again at what a piece left unfinished */

struct unit_report {
    report_kind kind;
    slice pattern;
    const char *dir;
    report_files before; /* JUnit */
    bool looked;         /* `before` is of now: nothing ran since */
    char *piece;

    unit_found found;
    rec_test_case *cases;
    size_t cases_cap;
    size_t bytes;
    bool flaky;
    arena mem; /* texts of what was found */
};

DEFINE_CLEANUP(junit *, junit_free);
DEFINE_CLEANUP(tap *, tap_free);

unit_report *unit_report_new(report_kind kind, slice files, const char *dir)
{
    unit_report *r = NEW(unit_report);

    r->kind = kind;
    r->pattern = files;
    r->dir = dir;
    return r;
}

void unit_report_free(unit_report *r)
{
    if (!r)
        return;
    report_files_free(&r->before);
    arena_free(&r->mem);
    free(r->cases);
    free(r->piece);
    free(r);
}

static volt_code look(const unit_report *r, report_files *ret, volt_err *err)
{
    return report_files_find(r->dir, r->pattern, UNIT_REPORT_FILES_MAX, UNIT_REPORT_ENTRIES_MAX,
                             ret, err);
}

void unit_report_begin(unit_report *r)
{
    if (r->kind == REPORT_JUNIT && !r->looked) {
        report_files_free(&r->before);
        look(r, &r->before, NULL); /* too many are told when they are read */
    }
    r->looked = false;
}

/* ---- cases ---- */

static void take(void *ctx, const rec_test_case *c)
{
    unit_report *r = ctx;
    size_t bytes = UNIT_REPORT_CASE_BYTES + c->name.n + c->message.n;

    r->found.bad += c->verdict == VERDICT_FAILED || c->verdict == VERDICT_ERRORED;
    r->flaky |= c->verdict == VERDICT_FLAKY;
    if (r->found.left_out || r->found.n == OUTCOME_CASES_MAX ||
        r->bytes + bytes > UNIT_REPORT_BYTES_MAX) {
        r->found.left_out++;
        return;
    }
    r->bytes += bytes;
    if (r->found.n == r->cases_cap) {
        r->cases_cap = r->cases_cap ? 2 * r->cases_cap : 16;
        r->cases = mem_grow(r->cases, r->cases_cap, sizeof *r->cases);
    }
    r->cases[r->found.n] = *c;
    r->cases[r->found.n].name = arena_slice(&r->mem, c->name);
    r->cases[r->found.n++].message = arena_slice(&r->mem, c->message);
}

static const unit_found *judge(unit_report *r)
{
    unit_found *f = &r->found;

    f->v = r->cases;
    if (!f->verdict) {
        f->verdict = f->bad                    ? VERDICT_FAILED
                     : f->n + f->left_out == 0 ? VERDICT_NO_TESTS
                     : r->flaky                ? VERDICT_FLAKY
                                               : VERDICT_PASSED;
        if (f->verdict == VERDICT_NO_TESTS)
            f->why = r->kind == REPORT_TAP ? "there is no test in its output that TAP would show"
                                           : "its report has no cases";
    }
    return f;
}

static void cannot_read(unit_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void cannot_read(unit_report *r, const char *fmt, ...)
{
    char *text;
    va_list ap;

    if (r->found.verdict)
        return;
    va_start(ap, fmt);
    text = mem_vprintf(fmt, ap);
    va_end(ap);
    r->found.verdict = VERDICT_ERRORED;
    r->found.why = arena_str(&r->mem, slice_of(text));
    free(text);
}

static char *piece_of(unit_report *r)
{
    if (!r->piece)
        r->piece = mem_zero(PIECE_SIZE);
    return r->piece;
}

/* ---- JUnit ---- */

static volt_code feed_file(unit_report *r, int fd, junit *j, volt_err *err)
{
    char *piece = piece_of(r);
    ssize_t n;
    volt_code rc = VOLT_OK;

    do {
        n = read(fd, piece, PIECE_SIZE);
        if (n < 0 && errno != EINTR)
            return volt_fail(err, VOLT_EIO, "%s", strerror(errno));
        if (n > 0)
            rc = junit_feed(j, (slice){ piece, (size_t)n }, err);
    } while (n != 0 && !rc);
    return rc ? rc : junit_end(j, err);
}

static void read_file(unit_report *r, const char *path)
{
    CLEANUP(free)
    char *full = mem_printf("%s/%s", r->dir, path);
    CLEANUP(close)
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    CLEANUP(junit_free)
    junit *j = junit_new(take, r);
    volt_err err;

    if (fd < 0)
        cannot_read(r, "%s: %s", path, strerror(errno));
    else if (feed_file(r, fd, j, &err))
        cannot_read(r, "%s: %s", path, err.msg);
}

static void read_files(unit_report *r)
{
    CLEANUP(report_files)
    report_files now = { 0 };
    size_t n = 0;
    volt_err err;
    volt_code rc = look(r, &now, &err);

    if (rc)
        cannot_read(r, "'" SLICE_FMT "': %s", SLICE_ARG(r->pattern), err.msg);
    for (size_t i = 0; i < now.n && !r->found.verdict; i++) {
        if (report_files_has(&r->before, &now.v[i]))
            continue;
        n++;
        read_file(r, now.v[i].path);
        report_files_age(r->dir, &now.v[i]);
    }
    if (n == 0)
        cannot_read(r, "no report: it wrote nothing that '" SLICE_FMT "' names",
                    SLICE_ARG(r->pattern));
    report_files_free(&r->before);
    if (!r->found.verdict) { /* else some may not have got the older date */
        r->before = now;
        now = (report_files){ 0 };
        r->looked = true;
    }
}

/* ---- TAP ---- */

static void read_output(unit_report *r, spool *s, uint64_t off, uint64_t len)
{
    CLEANUP(tap_free)
    tap *t = tap_new(take, r);
    const char *why;
    volt_err err;

    while (len > 0) {
        size_t n = 0;
        volt_code rc = spool_read_stream(s, PART_LOG, off, piece_of(r),
                                         len < PIECE_SIZE ? (size_t)len : PIECE_SIZE, &n, &err);

        if (rc || n == 0) {
            cannot_read(r, "its output cannot be read again: %s", rc ? err.msg : "it is gone");
            break;
        }
        tap_feed(t, (slice){ r->piece, n });
        off += n;
        len -= n;
    }
    why = tap_end(t);
    if (why && !r->found.verdict) {
        r->found.verdict = VERDICT_FAILED;
        r->found.why = arena_str(&r->mem, slice_of(why));
    }
}

const unit_found *unit_report_read(unit_report *r, spool *s, uint64_t off, uint64_t len)
{
    arena_reset(&r->mem);
    r->found = (unit_found){ 0 };
    r->bytes = 0;
    r->flaky = false;
    if (r->kind == REPORT_JUNIT)
        read_files(r);
    else
        read_output(r, s, off, len);
    return judge(r);
}
