#include "oracle.h"

uint64_t oracle_builds(const oracle *o)
{
    return o->builds_n;
}

uint64_t oracle_events(const oracle *o)
{
    return o->events_n;
}

uint64_t oracle_tasks(const oracle *o)
{
    return o->tasks_n;
}

bool oracle_at_rest(oracle *o, const char **why)
{
    for (uint64_t i = 1; i <= o->builds_n; i++)
        if (o->builds[i]->state != STATE_FINAL) {
            *why = arena_printf(&o->w->scratch, "L1: build %llu has not ended", ULL(i));
            return false;
        }
    for (uint64_t i = 1; i <= o->tasks_n; i++)
        if (o->tasks[i] && o->tasks[i]->state != STATE_FINAL) {
            *why = arena_printf(&o->w->scratch, "L1: task %llu has not ended", ULL(i));
            return false;
        }
    return true;
}

/* What the store has is what was committed. */
static void check_rows(oracle *o, store *s, arena *a)
{
    for (uint64_t i = 1; i <= o->builds_n; i++) {
        const known_build *b = o->builds[i];
        row_build r;

        if (s->ops->build(s, i, a, &r, NULL) != VOLT_OK || r.state != b->state ||
            r.verdict != b->verdict || !slice_eq(r.oid, b->oid))
            broken(o->w, "S4", "build %llu is not in the store as it was committed", ULL(i));
    }
}

/* S4: what observers saw was answered, and as what it is. */
static void check_saws(oracle *o)
{
    for (size_t i = 0; i < o->saws_n; i++) {
        const saw *s = &o->saws[i];
        const known_submission *k = map_gets(&o->submissions, s->sid);
        const known_build *b = k && k->build ? o->builds[k->build] : NULL;

        if (!k)
            broken(o->w, "S4", "a commit that an observer saw was never answered");
        if (b &&
            (!slice_eq(b->repo, s->repo) || !slice_eq(b->ref, s->ref) || !slice_eq(b->oid, s->oid)))
            broken(o->w, "S4", "build %llu is not of the commit it was accepted for", ULL(b->id));
    }
}

/* S8: the log of a task whose result counted is all that its process wrote. */
static void check_log(oracle *o, store *s, const known_task *t, const buf *file, arena *a)
{
    const truth *real = oracle_truth(o, t->id, t->att);
    slice log = file ? buf_slice(file) : (slice){ 0 };

    if (t->verdict != VERDICT_PASSED && t->verdict != VERDICT_FAILED &&
        t->verdict != VERDICT_TIMEOUT)
        return;
    if (s->ops->short_log(s, t->id, t->att, a, &log, NULL) != VOLT_OK && !file)
        log = (slice){ 0 };
    if (log.n != real->log_bytes || t->log_bytes != real->log_bytes)
        broken(o->w, "S8",
               "task %llu attempt %llu: %zu bytes of log are kept, told are %llu, "
               "written were %llu",
               ULL(t->id), ULL(t->att), log.n, ULL(t->log_bytes), ULL(real->log_bytes));
    for (size_t i = 0; i < log.n; i++)
        if ((unsigned char)log.p[i] != output_byte(t->id, t->att, i))
            broken(o->w, "S8", "the kept log of task %llu differs at byte %zu", ULL(t->id), i);
}

void oracle_final(oracle *o, store *s, buf *(*log)(world *w, uint64_t task, uint64_t att))
{
    arena a = { 0 };

    check_rows(o, s, &a);
    check_saws(o);
    for (uint64_t i = 1; i <= o->tasks_n; i++) {
        arena_reset(&a);
        if (o->tasks[i])
            check_log(o, s, o->tasks[i], log(o->w, i, o->tasks[i]->att), &a);
    }
    arena_free(&a);
}

void oracle_explain(oracle *o)
{
    const dispatch *d = dispatcher_now(o->w);
    msg_status_is s;
    arena a = { 0 };

    if (!d)
        return;
    dispatch_status(d, o->w->now_ms, &s, &a);
    for (size_t i = 0; i < s.running.n; i++)
        tell(o->w, NULL, "task %llu %s, attempt %llu", ULL(s.running.v[i].task),
             state_text(s.running.v[i].state), ULL(s.running.v[i].att));
    for (size_t i = 0; i < s.waiting.n; i++)
        tell(o->w, NULL, "build %llu job " SLICE_FMT " task %llu attempt %llu waits: " SLICE_FMT,
             ULL(s.waiting.v[i].build), SLICE_ARG(s.waiting.v[i].job), ULL(s.waiting.v[i].task),
             ULL(s.waiting.v[i].att), SLICE_ARG(s.waiting.v[i].why));
    arena_free(&a);
}
