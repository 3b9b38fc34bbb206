/* The byte streams of an attempt, its log and its artifacts: taken piece by piece under credit,
 * whole and durable before its result is. */
#include "base/mutant.h"
#include "core/dispatch_internal.h"

#define LOG_OWN_LINES_MAX (1 << 20)

static void say_log(dispatch *d, const runner *r, const task *t, msg_part part)
{
    msg_log_ok *ok = &effects_send(d->out, r->peer, MSG_log_ok)->log_ok;

    *ok = (msg_log_ok){ .task = t->id,
                        .att = t->att,
                        .off = t->bytes[part],
                        .window = d->ev->disk_low ? 0 : d->config.log_window,
                        .part = part };
}

uint64_t parts_max(const dispatch *d, const task *t, msg_part part)
{
    /* The cap for what the task writes, and room for the lines with which a runner says that it was
     * reached, or that a test was stopped. */
    if (part == PART_LOG)
        return d->config.log_max + LOG_OWN_LINES_MAX;
    return t->job && t->job->artifacts ? d->config.artifact_max : 0;
}

/* Who follows a build sees its logs as they come. */
static void publish_log(dispatch *d, const task *t, const msg_log *m)
{
    const char *topic = arena_printf(&d->out->arena, "l.%llu.", (unsigned long long)t->build->id);
    msg_log *live = &effects_publish(d->out, topic, MSG_log)->log;

    *live = *m;
    live->build = t->build->id;
    live->job = t->job ? t->job->name : (slice){ 0 };
}

void on_log(dispatch *d, runner *r, const msg_log *m)
{
    task *t = task_of(d, r, m->task, m->att);
    msg_part part = m->part == PART_ARTIFACTS ? PART_ARTIFACTS : PART_LOG;
    bool any = part == PART_LOG ? MUTANT(log_any_offset) : MUTANT(artifact_any_offset);

    if (!t) {
        fence(d, r, m->task, m->att);
        return;
    }
    /* A nearly full disk keeps its last room for results; the runner is told to wait. */
    if ((m->off == t->bytes[part] || any) && m->d.n &&
        t->bytes[part] + m->d.n <= parts_max(d, t, part) && !d->ev->disk_low) {
        effect *e = effects_add(d->out, EFFECT_LOG_WRITE);

        e->task = t->id;
        e->att = t->att;
        e->part = part;
        e->off = m->off;
        e->bytes = m->d;
        t->bytes[part] += m->d.n;
        if (part == PART_LOG)
            publish_log(d, t, m);
    }
    say_log(d, r, t, part);
}

void dispatch_log_is(dispatch *d, uint64_t task, uint64_t att, msg_part part, uint64_t bytes)
{
    struct task *t = map_get(&d->tasks, task);

    if (t && t->att == att && t->state != STATE_FINAL)
        t->bytes[part] = bytes;
}

uint64_t dispatch_log_shown(const dispatch *d, uint64_t task, uint64_t att)
{
    const struct task *t = map_get(&d->tasks, task);

    if (MUTANT(torn_log_shown))
        return UINT64_MAX;
    return t && t->att == att && t->lease.runner ? t->bytes[PART_LOG] : UINT64_MAX;
}

static void sync_part(dispatch *d, const task *t, msg_part part)
{
    effect *e = effects_add(d->out, EFFECT_LOG_SYNC);

    e->task = t->id;
    e->att = t->att;
    e->part = part;
    e->off = t->bytes[part];
}

bool parts_take(dispatch *d, const runner *r, task *t, const msg_result *m)
{
    bool log_inside = m->log.n && t->bytes[PART_LOG] == 0 && m->log.n == m->log_bytes;

    if (!log_inside && t->bytes[PART_LOG] != m->log_bytes && !MUTANT(result_before_log)) {
        say_log(d, r, t, PART_LOG);
        return false;
    }
    if (t->bytes[PART_ARTIFACTS] != m->artifact_bytes && !MUTANT(result_before_artifacts)) {
        say_log(d, r, t, PART_ARTIFACTS);
        return false;
    }
    if (log_inside) {
        row_log *row = &effects_put(d->out, ROW_LOG)->log;

        *row = (row_log){ .task = t->id, .att = t->att, .bytes = m->log };
        t->bytes[PART_LOG] = m->log_bytes;
        t->log_short = true;
    } else if (t->bytes[PART_LOG]) {
        sync_part(d, t, PART_LOG);
        emit_task(d, EVENT_LOG_END, t)->log_bytes = t->bytes[PART_LOG];
    }
    if (t->bytes[PART_ARTIFACTS])
        sync_part(d, t, PART_ARTIFACTS);
    t->artifacts_whole = true;
    return true;
}

void parts_end_told(dispatch *d, const task *t)
{
    if (t->bytes[PART_LOG])
        sync_part(d, t, PART_LOG);
}

void parts_drop_torn(dispatch *d, task *t)
{
    effect *e;

    if (!t->job || !t->job->artifacts || t->artifacts_whole)
        return;
    t->bytes[PART_ARTIFACTS] = 0;
    e = effects_add(d->out, EFFECT_LOG_DROP);
    e->task = t->id;
    e->att = t->att;
    e->part = PART_ARTIFACTS;
}

slices parts_inputs(dispatch *d, const job *j)
{
    slices names = { ARENA_ARRAY(&d->out->arena, slice, j->needs.n), 0 };

    for (size_t i = 0; i < j->needs.n; i++) {
        const job *other = j->needed[i];

        if (other && other->artifacts && (other->artifact_bytes || other->taken_over))
            names.v[names.n++] = other->name;
    }
    return names;
}
