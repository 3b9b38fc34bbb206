#include "core/dispatch_internal.h"

void put_build(dispatch *d, const build *b)
{
    build_to_row(b, &effects_put(d->out, ROW_BUILD)->build);
}

void put_job(dispatch *d, const job *j)
{
    job_to_row(j, &effects_put(d->out, ROW_JOB)->job);
}

void put_task(dispatch *d, const task *t)
{
    task_to_row(t, &d->out->arena, &effects_put(d->out, ROW_TASK)->task);
}

/* The id is copied, for the task may get its next attempt in this very step. */
void put_attempt(dispatch *d, const task *t, state state, code code)
{
    row_attempt *r = &effects_put(d->out, ROW_ATTEMPT)->attempt;

    *r = (row_attempt){ .task = t->id,
                        .att = t->att,
                        .runner = arena_slice(&d->out->arena, slice_of(t->runner_id)),
                        .runner_name = t->runner_name,
                        .state = state,
                        .verdict = state == STATE_FINAL ? t->verdict : verdict_none,
                        .code = code,
                        .leased_ms = t->leased_wall_ms,
                        .ended_ms = state == STATE_FINAL ? d->wall_ms : 0,
                        .log_bytes = t->bytes[PART_LOG],
                        .artifact_bytes = t->bytes[PART_ARTIFACTS] };
}

void put_unit(dispatch *d, const job *j, size_t i, const task *t, const rec_item *item)
{
    row_unit *r = &effects_put(d->out, ROW_UNIT)->unit;

    *r = (row_unit){ .build = j->build->id, .job = j->idx, .i = i };
    if (!item) {
        r->file = j->units[i].file;
        r->expected_ms = j->units[i].expected_ms;
        return;
    }
    r->verdict = item->verdict;
    r->duration_ms = item->duration_ms;
    r->task = t->id;
    r->att = t->att;
    r->log_off = item->log_off;
    r->log_len = item->log_len;
    r->exit = item->exit;
    r->signal = item->signal;
    r->tries = item->tries;
    r->cases = item->cases;
    r->bad = item->bad;
}

static row_case next_case(const task *t, uint64_t n)
{
    return (row_case){ .build = t->build->id, .job = t->job->idx, .i = t->units[t->done], .n = n };
}

void put_case(dispatch *d, const task *t, const rec_test_case *c)
{
    row_case *r = &effects_put(d->out, ROW_CASE)->test_case;

    *r = next_case(t, t->cases);
    r->name = c->name;
    r->verdict = c->verdict;
    r->duration_ms = c->duration_ms;
    r->message = c->message;
}

void cut_cases(dispatch *d, const task *t, uint64_t n)
{
    row *r = ARENA_NEW(&d->out->arena, row);

    r->kind = ROW_CASE;
    r->test_case = next_case(t, n);
    effects_add(d->out, EFFECT_CUT)->row = r;
}
