#include "exec/attempt.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/kill.h"
#include "base/log.h"
#include "base/mem.h"
#include "exec/attempt_parts.h"
#include "wire/codec.h"

volt_code attempt_tell(attempt *a, spool_part part, const msg *m, volt_err *err)
{
    CLEANUP(buf)
    buf b = { 0 };
    volt_code rc;

    wire_encode(m, &b);
    rc = spool_add(a->spool, part, buf_slice(&b), err);
    if (!rc)
        a->say(a->ctx, buf_slice(&b));
    return rc;
}

static void say(const attempt *a, const msg *m)
{
    CLEANUP(buf)
    buf b = { 0 };

    wire_encode(m, &b);
    a->say(a->ctx, buf_slice(&b));
}

static void say_start(const attempt *a)
{
    say(a, &(msg){ .type = MSG_start, .start = { .task = a->order.task, .att = a->order.att } });
}

void attempt_tell_start(attempt *a)
{
    if (!a->start_said)
        say_start(a);
    a->started = a->start_said = true;
    a->start_ms = ATTEMPT_NEVER;
}

void attempt_refuse(attempt *a, code why, const char *text)
{
    a->phase = PHASE_REFUSED;
    say(a, &(msg){ .type = MSG_nack,
                   .nack = { .task = a->order.task,
                             .att = a->order.att,
                             .code = why,
                             .msg = slice_of(text) } });
}

int attempt_open_log(void *ctx)
{
    attempt *a = ctx;

    return spool_stream_fd(a->spool, PART_LOG);
}

code attempt_blame(volt_code rc)
{
    switch (rc) {
    case VOLT_EIO:
    case VOLT_EFULL:
        return CODE_DISK;
    case VOLT_ENOTFOUND: /* the commit: a source that is not there was refused before */
        return CODE_NOT_FOUND;
    default:
        return CODE_REPO;
    }
}

void attempt_finish(attempt *a, msg_result *r)
{
    msg m = { .type = MSG_result, .result = *r };
    volt_err err;
    volt_code rc;

    m.result.task = a->order.task;
    m.result.att = a->order.att;
    m.result.ep = a->order.ep;
    buf_clear(&a->result);
    wire_encode(&m, &a->result);
    KILL_POINT(before_spool_result);
    rc = spool_finish(a->spool, buf_slice(&a->result), &err);
    if (rc == VOLT_ENOTFOUND) {
        attempt_refuse(a, CODE_LOST, err.msg);
        return;
    }
    if (rc) /* a full disk: the agent has it from us, and loses it only if it ends before it is
               heard */
        log_warn("task %" PRIu64 ": %s; its result is told without", a->order.task, err.msg);
    KILL_POINT(after_spool_result);
    a->phase = PHASE_DONE;
    a->say(a->ctx, buf_slice(&a->result));
}

/* ---- bringing the commit here ---- */

/* A submodule that cannot be had is the build's fault, not this runner's: no other would do. */
static void fail_submodules(attempt *a, volt_code rc, const char *why)
{
    if (rc == VOLT_EIO || rc == VOLT_EFULL) {
        attempt_refuse(a, CODE_DISK, why);
        return;
    }
    a->out = output_new(attempt_open_log, a, site_settings(a->site)->log_max);
    output_line(a->out, why);
    attempt_finish(a, &(msg_result){ .verdict = VERDICT_ERRORED,
                                     .msg = slice_of(why),
                                     .log_bytes = output_bytes(a->out) });
}

static void submodules_go_on(attempt *a, int64_t now_ms)
{
    volt_err err;
    volt_code rc = submodules_step(a->submodules, &err);

    if (rc == VOLT_EAGAIN)
        return;
    if (rc)
        fail_submodules(a, rc, err.msg);
    else
        batch_begin(a, now_ms);
}

/* The URL that relative ones of submodules are relative to. */
static char *base_url(const attempt *a)
{
    if (slice_starts(a->order.url, SLICE("local:")))
        return mem_strdup(a->source);
    return mem_strndup(a->order.url.p, a->order.url.n);
}

static void found(attempt *a, const char *path, int64_t now_ms)
{
    const site_config *config = site_settings(a->site);
    CLEANUP(free)
    char *base = base_url(a);
    const submodules_request request = { .work = config->work,
                                         .store = path,
                                         .source = base,
                                         .id = &a->commit,
                                         .limit_ms = config->fetch_ms };

    if (a->order.kind == TASK_PLAN) {
        plan_run(a, path);
        return;
    }
    batch_open(a, path);
    if (!a->spec.submodules || batch_is_prepared(a)) {
        batch_begin(a, now_ms);
        return;
    }
    a->submodules = submodules_start(&request);
    submodules_go_on(a, now_ms);
}

static void fetched(attempt *a, int64_t now_ms)
{
    CLEANUP(free)
    char *path = mem_strdup(mirror_path(a->fetch));

    mirror_free(TAKE(a->fetch));
    site_learn(a->site, a->source, path);
    found(a, path, now_ms);
}

static void fetch_step(attempt *a, int64_t now_ms)
{
    volt_err err;
    volt_code rc = mirror_step(a->fetch, &err);

    if (rc == VOLT_EAGAIN)
        return;
    if (rc)
        attempt_refuse(a, attempt_blame(rc), err.msg);
    else
        fetched(a, now_ms);
}

static void fetch_begin(attempt *a, int64_t now_ms)
{
    const site_config *config = site_settings(a->site);
    CLEANUP(free)
    char *name = mem_strndup(a->order.repo.p, a->order.repo.n);
    CLEANUP(free)
    char *ref = mem_strndup(a->order.ref.p, a->order.ref.n);
    const mirror_request request = { .work = config->work,
                                     .name = name,
                                     .source = a->source,
                                     .ref = ref,
                                     .id = &a->commit,
                                     .limit_ms = config->fetch_ms };
    const char *known = site_known(a->site, a->source, &a->commit);
    volt_err err;
    volt_code rc;

    if (known) {
        found(a, known, now_ms);
        return;
    }
    rc = mirror_start(&request, &a->fetch, &err);
    if (rc)
        attempt_refuse(a, attempt_blame(rc), err.msg);
    else
        fetch_step(a, now_ms);
}

/* ---- life ---- */

/* What the dispatcher may ask for, checked before anything is made.  Returns the code to refuse
 * with. */
static code check(attempt *a, volt_err *err)
{
    const site_config *config = site_settings(a->site);

    if (commit_id_parse(a->order.oid, &a->commit, err))
        return CODE_SPEC;
    if (memchr(a->order.url.p, '\0', a->order.url.n))
        return volt_fail(err, VOLT_EINVALID, "malformed url"), CODE_SPEC;
    if (a->order.kind != TASK_PLAN && config->slot == 0)
        return volt_fail(err, VOLT_EINVALID, "this executor plans"), CODE_BUSY;
    if (a->order.kind != TASK_PLAN && batch_check(a, err))
        return CODE_SPEC;
    if (a->order.kind != TASK_PLAN && means_check(a, err))
        return CODE_UNABLE;
    if (site_source(a->site, a->order.repo, a->order.url, &a->source, err))
        return CODE_REPO;
    return code_none;
}

attempt *attempt_start(site *s, slice frame, attempt_say *say_fn, void *ctx, int64_t now_ms)
{
    attempt *a = NEW(attempt);
    spool_id id;
    volt_err err;
    volt_code rc;
    code refused;
    msg m;

    a->site = s;
    a->say = say_fn;
    a->ctx = ctx;
    buf_add_slice(&a->frame, frame);
    rc = wire_decode(buf_slice(&a->frame), &a->mem, &m, &err);
    assert(rc == VOLT_OK && m.type == MSG_assign);
    a->order = m.assign;
    a->until_ms = (int64_t)a->order.until_ms;

    refused = check(a, &err);
    if (refused) {
        attempt_refuse(a, refused, err.msg);
        return a;
    }
    id = attempt_id(a);
    rc = spool_create(site_settings(s)->work, id, frame, &a->spool, &err);
    KILL_POINT(after_spool);
    if (rc) /* one that has a spool started once, and must not again */
        attempt_refuse(a, rc == VOLT_EEXISTS ? CODE_LOST : CODE_DISK, err.msg);
    else
        fetch_begin(a, now_ms);
    return a;
}

void attempt_free(attempt *a)
{
    if (!a)
        return;
    assert(attempt_ended(a));
    mirror_free(a->fetch);
    submodules_free(a->submodules);
    batch_free(a);
    spool_free(a->spool);
    arena_free(&a->mem);
    buf_free(&a->frame);
    buf_free(&a->result);
    free(a->source);
    free(a->why);
    free(a);
}

spool_id attempt_id(const attempt *a)
{
    return (spool_id){ .task = a->order.task, .att = a->order.att };
}

held_state attempt_state(const attempt *a)
{
    switch (a->phase) {
    case PHASE_FETCH:
    case PHASE_LEAVE:
    case PHASE_READY:
    case PHASE_UNITS:
        return a->started ? HELD_RUNNING : HELD_ACCEPTED;
    case PHASE_DONE:
        return HELD_DONE;
    case PHASE_REFUSED:
        break;
    }
    return held_state_none;
}

bool attempt_ended(const attempt *a)
{
    return a->phase == PHASE_DONE || a->phase == PHASE_REFUSED;
}

uint64_t attempt_log_bytes(const attempt *a)
{
    return a->out ? output_bytes(a->out) : 0;
}

size_t attempt_fds(const attempt *a, struct pollfd ret[ATTEMPT_FDS_MAX])
{
    size_t n = 0;

    if (a->phase == PHASE_FETCH)
        ret[n++] =
            (struct pollfd){ .fd = a->fetch ? mirror_fd(a->fetch) : submodules_fd(a->submodules),
                             .events = POLLIN };
    else if (a->phase == PHASE_UNITS && output_fd(a->out) >= 0)
        ret[n++] = (struct pollfd){ .fd = output_fd(a->out), .events = POLLIN };
    return n;
}

int64_t attempt_deadline_ms(const attempt *a)
{
    switch (a->phase) {
    case PHASE_LEAVE:
        return site_setup_deadline_ms(a->site);
    case PHASE_READY:
        return 0;
    case PHASE_UNITS:
        return batch_deadline_ms(a);
    default:
        return ATTEMPT_NEVER;
    }
}

void attempt_step(attempt *a, int64_t now_ms)
{
    switch (a->phase) {
    case PHASE_FETCH:
        if (a->fetch)
            fetch_step(a, now_ms);
        else
            submodules_go_on(a, now_ms);
        break;
    case PHASE_LEAVE:
        batch_leave(a, now_ms);
        break;
    case PHASE_READY:
        batch_start(a, now_ms);
        break;
    case PHASE_UNITS:
        batch_step(a, now_ms);
        break;
    case PHASE_DONE:
    case PHASE_REFUSED:
        break;
    }
}

void attempt_cancel(attempt *a, int64_t grace_ms, slice why, int64_t now_ms)
{
    if (attempt_ended(a))
        return;
    if (!a->canceled)
        a->why = mem_strndup(why.p ? why.p : "", why.n);
    a->canceled = true;
    if (a->phase == PHASE_UNITS) {
        batch_cancel(a, grace_ms, now_ms);
        return;
    }
    if (a->phase == PHASE_READY)
        batch_drop(a);
    mirror_free(TAKE(a->fetch));
    submodules_free(TAKE(a->submodules));
    attempt_finish(a, &(msg_result){ .verdict = VERDICT_CANCELED, .msg = slice_of(a->why) });
}

void attempt_renew(attempt *a, int64_t until_ms)
{
    if (a->until_ms < until_ms)
        a->until_ms = until_ms;
}

int64_t attempt_until_ms(const attempt *a)
{
    return a->order.alone && !attempt_ended(a) ? a->until_ms : ATTEMPT_NEVER;
}

void attempt_repeat(const attempt *a)
{
    if (a->phase == PHASE_DONE)
        a->say(a->ctx, buf_slice(&a->result));
    else if (a->phase == PHASE_UNITS && a->started)
        say_start(a);
}
