/* Answers to `cases`: what the report of a unit names. */
#include "role/dispatcher_internal.h"

#define PAGE_BYTES_MAX (192 * 1024) /* as in query.c */
#define CASE_BYTES     64           /* of a case on the wire, beside its texts */
#define ROWS_MAX       1000
#define NAME_SHOWN     128

typedef struct page {
    arena *mem;
    rec_test_case_list rows;
    size_t max, bytes;
    bool more;
} page;

static volt_code add_case(void *ctx, const row *r, volt_err *err)
{
    page *p = ctx;
    const row_case *c = &r->test_case;

    (void)err;
    if (p->more || p->rows.n == p->max || p->bytes > PAGE_BYTES_MAX) {
        p->more = true;
        return VOLT_OK;
    }
    p->bytes += CASE_BYTES + c->name.n + c->message.n;
    p->rows.v[p->rows.n++] = (rec_test_case){ .name = arena_slice(p->mem, c->name),
                                              .verdict = c->verdict,
                                              .duration_ms = c->duration_ms,
                                              .message = arena_slice(p->mem, c->message) };
    return VOLT_OK;
}

typedef struct named_job {
    slice name;
    uint64_t idx;
    bool found;
} named_job;

static volt_code find_job(void *ctx, const row *r, volt_err *err)
{
    named_job *j = ctx;

    (void)err;
    if (slice_eq(r->job.name, j->name)) {
        j->idx = r->job.idx;
        j->found = true;
    }
    return VOLT_OK;
}

static slice no_job(dispatcher *d, const msg_cases *ask)
{
    const slice name = { ask->job.p, ask->job.n < NAME_SHOWN ? ask->job.n : NAME_SHOWN };

    return slice_of(arena_printf(&d->arena,
                                 "build %llu has no job " SLICE_FMT ", or its details are not kept",
                                 (unsigned long long)ask->build, SLICE_ARG(name)));
}

volt_code query_cases(dispatcher *d, uint64_t peer, const msg *m, volt_err *err)
{
    const msg_cases *ask = &m->cases;
    msg a = { .type = MSG_cases_are, .r = m->r };
    named_job job = { .name = ask->job };
    page p = { .mem = &d->arena, .max = ask->max ? (size_t)ask->max : ROWS_MAX };
    volt_code code = d->store->ops->jobs(d->store, ask->build, find_job, &job, err);

    if (code != VOLT_OK)
        return code;
    p.rows.v = ARENA_ARRAY(&d->arena, rec_test_case, p.max);
    if (job.found)
        code = d->store->ops->cases(d->store, ask->build, job.idx, ask->i, ask->bad, ask->from,
                                    p.max + 1, add_case, &p, err);
    a.cases_are.rows = p.rows;
    a.cases_are.more = p.more;
    if (!job.found) {
        a.type = MSG_err;
        a.err = (msg_err){ .code = CODE_NOT_FOUND, .msg = no_job(d, ask) };
    }
    if (code == VOLT_OK)
        outbox_send(d, peer, &a);
    return code;
}
