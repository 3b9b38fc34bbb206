#include "oracle.h"

#define SETTLE_MS  30000  /* connections are made again, and questions asked again, within */
#define EMPTY_MS   60000  /* results are told, and acknowledged, within */
#define LEAVE_MS   120000 /* what a drained runner has ends within, and then it leaves */
#define MEET_LOOKS 5      /* L3: half a second each */

uint64_t oracle_events(const oracle *o)
{
    return o->events_n;
}

void oracle_sum(const oracle *o, sim_report *ret)
{
    for (; o; o = o->past) {
        ret->builds += o->builds_n;
        ret->tasks += o->tasks_n;
        ret->events += o->events_n;
    }
}

/* ---- the quiet time: L2, L3, L4 and L6 each with its own limit ---- */

/* A task that was never tried, of a build that nobody canceled, which the runner could have. */
static bool waits_for(oracle *o, const known_task *t, const struct sim_runner *r)
{
    const known_build *b = o->builds[t->build];

    if (t->state != STATE_QUEUED || t->att > 0 || b->state == STATE_CANCELING)
        return false;
    if (t->job != ROW_JOB_PLAN && b->jobs[t->job].special && !runner_is_special(r))
        return false;
    if (t->job != ROW_JOB_PLAN && b->jobs[t->job].concurrency.n) /* see oracle_core.c */
        return false;
    return runner_reaches(o->w, runner_id(r), b->repo);
}

static bool work_waits(oracle *o, const struct sim_runner *r, bool plan)
{
    for (uint64_t i = 1; i <= o->tasks_n; i++)
        if (o->tasks[i] && (o->tasks[i]->kind == TASK_PLAN) == plan && waits_for(o, o->tasks[i], r))
            return true;
    return false;
}

static void look_idle(oracle *o, size_t number)
{
    const struct sim_runner *r = o->w->runners[number];
    const known_runner *k = map_gets(&o->runners, runner_id(r));
    uint64_t assigns;
    bool idle = k && k->mode == MODE_RUN &&
                ((runner_idle_slots(r, true, &assigns) && work_waits(o, r, true)) ||
                 (runner_idle_slots(r, false, &assigns) && work_waits(o, r, false)));

    checked(o->w, RULE_L3);
    if (!idle || assigns != o->assigns[number])
        o->idle_looks[number] = 0;
    else if (++o->idle_looks[number] >= MEET_LOOKS)
        broken(o->w, RULE_L3, "%s is free beside work that suits it for 2 s",
               runner_process(o->w->runners[number])->name);
    if (idle)
        o->assigns[number] = assigns;
}

static void look_followers(oracle *o)
{
    for (size_t i = 0; i < o->w->followers_n; i++) {
        checked(o->w, RULE_L4);
        if (!follower_has(o->w->followers[i], o->events_at[o->looks % QUIET_LOOKS]))
            broken(o->w, RULE_L4, "%s has not all events of 10 s ago",
                   follower_process(o->w->followers[i])->name);
    }
}

static void look_spools(oracle *o)
{
    rest left;

    for (size_t i = 0; i < o->w->runners_n; i++) {
        checked(o->w, RULE_L2);
        if (!runner_at_rest(o->w->runners[i], &left) && left.rule == RULE_L2)
            broken(o->w, RULE_L2, "%s, a minute after the last build ended: %s",
                   runner_process(o->w->runners[i])->name, left.why);
    }
}

static void look_drained(oracle *o)
{
    for (size_t i = 0; i < o->w->runners_n; i++) {
        checked(o->w, RULE_L6);
        if (runner_is_draining(o->w->runners[i], o->w->now_ms - LEAVE_MS))
            broken(o->w, RULE_L6, "%s was drained, and is still there",
                   runner_process(o->w->runners[i])->name);
    }
}

void oracle_quiet(oracle *o)
{
    int64_t now = o->w->now_ms;

    if (!o->quiet_ms)
        o->quiet_ms = now;
    if (o->open_builds || o->open_tasks)
        o->ended_ms = 0;
    else if (!o->ended_ms)
        o->ended_ms = now;
    if (now - o->quiet_ms > SETTLE_MS && dispatcher_now(o->w)) {
        for (size_t i = 0; i < o->w->runners_n && now - o->repo_nack_ms > AVOID_MS; i++)
            look_idle(o, i);
        look_followers(o);
    }
    if (o->ended_ms && now - o->ended_ms > EMPTY_MS && now - o->quiet_ms > EMPTY_MS)
        look_spools(o);
    if (now - o->quiet_ms > LEAVE_MS)
        look_drained(o);
    o->events_at[o->looks++ % QUIET_LOOKS] = o->events_n;
}

bool oracle_at_rest(oracle *o, rest *ret)
{
    checked(o->w, RULE_L1);
    if (o->open_builds)
        *ret = (rest){ RULE_L1, "a build has not ended" };
    else if (o->open_tasks)
        *ret = (rest){ RULE_L1, "a task has not ended" };
    else
        return true;
    return false;
}

/* ---- the end ---- */

/* What the store has is what was committed. */
static void check_rows(oracle *o, store *s, arena *a)
{
    for (uint64_t i = 1; i <= o->builds_n; i++) {
        const known_build *b = o->builds[i];
        row_build r;

        if (oracle_is_gone(o, i) && o->w->long_haul) /* when it may is looked at elsewhere */
            continue;
        if (s->ops->build(s, i, a, &r, NULL) != VOLT_OK || r.state != b->state ||
            r.verdict != b->verdict || !slice_eq(r.oid, b->oid))
            broken(o->w, RULE_S4, "build %llu is not in the store as it was committed", ULL(i));
    }
}

/* Each outcome is in the history of its file. */
static void check_files(oracle *o)
{
    const map_entry *e;
    size_t at = 0;

    while ((e = map_next(&o->files, &at))) {
        const known_file *f = e->value;

        if (f->runs != f->told || f->failures != f->told_failed)
            broken(o->w, RULE_HISTORY,
                   "%llu runs and %llu failures are counted of %llu and %llu that were told",
                   ULL(f->runs), ULL(f->failures), ULL(f->told), ULL(f->told_failed));
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
            broken(o->w, RULE_S4, "a commit that an observer saw was never answered");
        if (b &&
            (!slice_eq(b->repo, s->repo) || !slice_eq(b->ref, s->ref) || !slice_eq(b->oid, s->oid)))
            broken(o->w, RULE_S4, "build %llu is not of the commit it was accepted for",
                   ULL(b->id));
    }
}

/* S8: what is kept of a task whose result counted is all that its attempt had; `cut`: only its
 * files were told, and it is the beginning of that. */
static void check_part(oracle *o, const known_task *t, msg_part part, uint64_t told, slice kept,
                       bool cut)
{
    const truth *real = oracle_truth(o, t->id, t->att);
    const log_name name = { t->id, t->att, part };
    const char *what = part == PART_LOG ? "log" : "artifacts";

    checked(o->w, RULE_S8);
    if (cut ? kept.n > real->bytes[part] : kept.n != real->bytes[part] || told != kept.n)
        broken(o->w, RULE_S8,
               "task %llu attempt %llu: %zu bytes of %s are kept, told are %llu, there were %llu",
               ULL(t->id), ULL(t->att), kept.n, what, ULL(told), ULL(real->bytes[part]));
    for (size_t i = 0; i < kept.n; i++)
        if ((unsigned char)kept.p[i] != output_byte(&name, i))
            broken(o->w, RULE_S8, "the kept %s of task %llu differs at byte %zu", what, ULL(t->id),
                   i);
}

static void check_parts(oracle *o, store *s, const known_task *t,
                        buf *(*file)(world *w, const log_name *name), arena *a)
{
    const buf *log = file(o->w, &(log_name){ t->id, t->att, PART_LOG });
    const buf *artifacts = file(o->w, &(log_name){ t->id, t->att, PART_ARTIFACTS });
    slice kept = log ? buf_slice(log) : (slice){ 0 };
    row_task row;
    bool cut;

    if (s->ops->task(s, t->id, a, &row, NULL) != VOLT_OK) {
        if (!oracle_is_forgotten(o, t->build))
            broken(o->w, RULE_RETAIN, "task %llu of build %llu, which is kept, is gone", ULL(t->id),
                   ULL(t->build));
        return;
    }
    cut = slice_starts(row.why, SLICE("its runner gave it up"));
    if (t->verdict != VERDICT_PASSED && t->verdict != VERDICT_FAILED &&
        t->verdict != VERDICT_TIMEOUT)
        return;
    if (s->ops->short_log(s, t->id, t->att, a, &kept, NULL) != VOLT_OK && !log)
        kept = (slice){ 0 };
    check_part(o, t, PART_LOG, t->log_bytes, kept, cut);
    check_part(o, t, PART_ARTIFACTS, t->artifact_bytes,
               artifacts ? buf_slice(artifacts) : (slice){ 0 }, cut);
}

void oracle_final(oracle *o, store *s, buf *(*file)(world *w, const log_name *name))
{
    arena a = { 0 };

    check_rows(o, s, &a);
    check_saws(o);
    check_files(o);
    oracle_check_empty(o);
    for (uint64_t i = 1; i <= o->tasks_n; i++) {
        arena_reset(&a);
        if (o->tasks[i])
            check_parts(o, s, o->tasks[i], file, &a);
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
