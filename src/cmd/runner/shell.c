#include "cmd/runner/shell.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/heap.h"
#include "base/kill.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/runner/exec.h"
#include "exec/spool.h"
#include "net/loop.h"
#include "net/sock.h"
#include "wire/codec.h"

#define MESSAGES_MAX 256                /* taken from the dispatcher before others get their turn */
#define LINGER_MS    500                /* the last words to the dispatcher may take so long */
#define END_MS       2000               /* and executors to end */
#define PART_MAX     ((size_t)64 << 20) /* of a spooled plan or list of outcomes */
#define DELETES_MAX  256                /* spools that wait to be deleted */
#define DELETES_TURN 4                  /* of these, deleted before sockets are looked at again */
#define LOOK_MS      2000               /* between looks whether the work directory is there */
/* The agent asks for one piece of a stream at a time. */
#define READS_MAX ((size_t)AGENT_HELD_MAX * PARTS_N)

typedef struct log_read {
    uint64_t task, att;
    msg_part stream;
    uint64_t off, max;
} log_read;

typedef struct runner {
    const runner_config *config;
    loop *loop;
    agent *agent;
    agent_effects out;
    sock *dealer;
    addr_list addresses;
    int address; /* the one in use */
    executors *executors;
    log_read *reads; /* pieces of logs and artifacts that the agent has asked for */
    size_t reads_n;
    spool_id deletes[DELETES_MAX]; /* the newest last */
    size_t deletes_n;
    buf frame;
    arena decoded;
    const msg *in; /* the message being handled, and its encoding */
    slice in_frame;
    log_limit bad;
    int64_t look_at;   /* for the work directory */
    unsigned terms;    /* SIGTERMs */
    bool unsaved;      /* in this step */
    bool unsaved_said; /* since the last save that succeeded */
    bool left;
    agent_exit why;
    volt_code failed;
    volt_err err;
} runner;

/* ---- the dispatcher ---- */

static void step(runner *r, agent_event ev);

static void handle(runner *r, agent_event ev, slice frame, const char *from)
{
    volt_err err;
    uint64_t held;
    msg m;

    arena_reset(&r->decoded);
    if (wire_decode(frame, &r->decoded, &m, &err)) {
        if (log_limit_pass(&r->bad, loop_now_ms(), &held))
            log_warn("%s: %s%s", from, err.msg, held ? " (and others since the last warning)" : "");
        return;
    }
    if (m.type == MSG_result_ok)
        KILL_POINT(on_result_ok);
    ev.msg = r->in = &m;
    r->in_frame = frame;
    step(r, ev);
    r->in = NULL;
}

static void from_dispatcher(void *ctx)
{
    runner *r = ctx;
    slice topic, frame;
    uint64_t peer;

    for (int i = 0; i < MESSAGES_MAX && !r->left && r->dealer; i++) {
        if (sock_recv(r->dealer, &peer, &topic, &frame, NULL))
            return;
        handle(r, (agent_event){ .kind = AGENT_MSG }, frame, "the dispatcher");
    }
}

static volt_code resolve(runner *r, volt_err *err)
{
    r->address = 0;
    return addr_resolve(&r->config->dispatcher, 1, &r->addresses, err);
}

/* A new connection, so that nothing queued for the old one arrives late. */
static volt_code connect_to(runner *r, volt_err *err)
{
    const sock_options options = { .frame_max = 2 * WIRE_WORK_MAX };
    volt_code code;

    if (r->dealer) {
        loop_remove_sock(r->loop, r->dealer);
        sock_free(r->dealer);
        r->dealer = NULL;
    }
    if (r->address >= r->addresses.n) /* all were tried: the name may mean others by now */
        resolve(r, NULL);
    if (r->addresses.n == 0)
        return VOLT_OK; /* resolved again with the next hello */
    code = sock_new(SOCK_DEALER, &options, &r->dealer, err);
    if (!code)
        code = sock_connect(r->dealer, r->addresses.v[r->address], err);
    if (!code)
        code = loop_add_sock(r->loop, r->dealer, from_dispatcher, r, err);
    return code;
}

static void send(runner *r, const msg *m)
{
    if (m != r->in) {
        buf_clear(&r->frame);
        wire_encode(m, &r->frame);
    }
    if (m->type == MSG_result)
        KILL_POINT(before_result_send);
    if (r->dealer) /* what does not go is repeated, or shows in the next heartbeat */
        sock_send(r->dealer, 0, (slice){ 0 }, m == r->in ? r->in_frame : buf_slice(&r->frame),
                  NULL);
    if (m->type == MSG_result)
        log_debug("task %" PRIu64 " attempt %" PRIu64 ": %s", m->result.task, m->result.att,
                  verdict_text(m->result.verdict));
    else if (m->type == MSG_nack)
        log_debug("task %" PRIu64 " attempt %" PRIu64 " given back: %s " SLICE_FMT, m->nack.task,
                  m->nack.att, code_text(m->nack.code), SLICE_ARG(m->nack.msg));
}

/* ---- executors ---- */

/* Deleting takes several disk operations, and the next task comes with the result_ok: it goes
 * first.  Spools that a crash leaves are told to the dispatcher at the next start. */
static void delete_later(runner *r, spool_id id)
{
    if (r->deletes_n < DELETES_MAX)
        r->deletes[r->deletes_n++] = id;
    else
        spool_delete(r->config->work->dir, id);
}

static void delete_some(runner *r, size_t most)
{
    for (; r->deletes_n && most; most--) {
        KILL_POINT(before_spool_delete);
        spool_delete(r->config->work->dir, r->deletes[--r->deletes_n]);
    }
}

/* After a change of history the same numbers may come again. */
static void make_way(runner *r, const msg_assign *m)
{
    for (size_t i = 0; i < r->deletes_n; i++)
        if (r->deletes[i].task == m->task && r->deletes[i].att == m->att)
            delete_some(r, DELETES_MAX);
}

static void send_exec(runner *r, unsigned slot, const msg *m)
{
    msg graced;

    if (m->type == MSG_assign && !m->assign.grace_ms && r->config->grace_ms) {
        graced = *m;
        graced.assign.grace_ms = (uint64_t)r->config->grace_ms;
        m = &graced;
    }
    if (m != r->in) {
        buf_clear(&r->frame);
        wire_encode(m, &r->frame);
    }
    if (m->type == MSG_assign) {
        make_way(r, &m->assign);
        log_debug("task %" PRIu64 " attempt %" PRIu64 " (%s " SLICE_FMT " " SLICE_FMT
                  "): to slot %u",
                  m->assign.task, m->assign.att, task_kind_text(m->assign.kind),
                  SLICE_ARG(m->assign.repo), SLICE_ARG(m->assign.oid), slot);
    }
    executors_send(r->executors, slot, m == r->in ? r->in_frame : buf_slice(&r->frame));
}

static void executor_up(void *ctx, unsigned slot)
{
    step(ctx, (agent_event){ .kind = AGENT_EXEC_UP, .slot = slot });
}

static void executor_frame(void *ctx, unsigned slot, slice frame)
{
    handle(ctx, (agent_event){ .kind = AGENT_EXEC_MSG, .slot = slot }, frame, "an executor");
}

static void executor_gone(void *ctx, unsigned slot)
{
    runner *r = ctx;

    r->look_at = 0; /* none starts without the work directory */
    step(r, (agent_event){ .kind = AGENT_EXEC_GONE, .slot = slot });
}

/* ---- the spool ---- */

DEFINE_CLEANUP(spool *, spool_free);

/* Decodes a spooled frame into the effects' arena, where it stands until they are carried out. */
static const msg *decode_spooled(runner *r, slice frame)
{
    msg *m = ARENA_NEW(&r->out.arena, msg);
    volt_err err;

    if (wire_decode(frame, &r->out.arena, m, &err)) {
        log_warn("spool: %s", err.msg);
        return NULL;
    }
    return m;
}

static void tell_spooled(runner *r, const agent_effect *e, const msg *m)
{
    const agent_event ev = { .kind = AGENT_SPOOL,
                             .now_ms = loop_now_ms(),
                             .task = e->task,
                             .att = e->att,
                             .part = e->part,
                             .msg = m };

    agent_step(r->agent, &ev, &r->out);
}

/* Answers come behind the effects that are being carried out. */
static void read_part(runner *r, agent_effect e)
{
    static const spool_part parts[] = { [AGENT_PART_PLAN] = SPOOL_PLAN,
                                        [AGENT_PART_TESTS] = SPOOL_TESTS,
                                        [AGENT_PART_RESULT] = SPOOL_RESULT };
    CLEANUP(spool_free)
    spool *s = NULL;
    CLEANUP(buf)
    buf bytes = { 0 };
    slice rest, frame;
    const msg *m = NULL;
    volt_err err;
    volt_code code = spool_open(r->config->work->dir, (spool_id){ e.task, e.att }, &s, &err);

    if (!code)
        code = spool_read(s, parts[e.part], PART_MAX, &bytes, &err);
    if (code && code != VOLT_ENOTFOUND)
        log_warn("%s", err.msg);
    rest = arena_slice(&r->out.arena, buf_slice(&bytes));
    if (e.part == AGENT_PART_RESULT) {
        m = rest.n ? decode_spooled(r, rest) : NULL;
        tell_spooled(r, &e, m && m->type == MSG_result ? m : NULL);
        return;
    }
    while (spool_next(&rest, &frame)) {
        m = decode_spooled(r, frame);
        if (!m || m->type != (e.part == AGENT_PART_PLAN ? MSG_plan : MSG_tests))
            break;
        if (m->type != MSG_plan || m->plan.part >= e.off)
            tell_spooled(r, &e, m);
    }
    tell_spooled(r, &e, NULL);
}

static void want_log(runner *r, const agent_effect *e)
{
    if (r->reads_n < READS_MAX) /* each stream of an attempt has at most one under way */
        r->reads[r->reads_n++] = (log_read){ e->task, e->att, e->stream, e->off, e->max };
}

static void read_log(runner *r, const log_read *want)
{
    static char bytes[AGENT_CHUNK_MAX];
    CLEANUP(spool_free)
    spool *s = NULL;
    size_t n = 0, max = want->max < sizeof bytes ? (size_t)want->max : sizeof bytes;
    volt_err err;
    volt_code code =
        spool_open(r->config->work->dir, (spool_id){ want->task, want->att }, &s, &err);

    if (!code)
        code = spool_read_stream(s, want->stream, want->off, bytes, max, &n, &err);
    if (code)
        log_warn("%s", err.msg);
    step(r, (agent_event){ .kind = AGENT_LOG_READ,
                           .task = want->task,
                           .att = want->att,
                           .stream = want->stream,
                           .off = want->off,
                           .bytes = { bytes, n } });
}

/* One round: what the answers ask for again waits until sockets were looked at. */
static void read_logs(runner *r)
{
    size_t n = r->reads_n;
    CLEANUP(free)
    log_read *round = NULL;

    if (n == 0)
        return;
    round = NEW_ARRAY(log_read, n);
    memcpy(round, r->reads, n * sizeof *round);
    r->reads_n = 0;
    for (size_t i = 0; i < n && !r->left; i++)
        read_log(r, &round[i]);
}

static volt_code find_spooled(runner *r, volt_err *err)
{
    CLEANUP(free)
    spool_id *ids = NULL;
    size_t n = 0;
    volt_code code = spool_scan(r->config->work->dir, &ids, &n, err);

    for (size_t i = 0; !code && i < n; i++) {
        CLEANUP(spool_free)
        spool *s = NULL;
        CLEANUP(buf)
        buf bytes = { 0 };
        CLEANUP(arena)
        arena a = { 0 };
        agent_event ev = { .kind = AGENT_FOUND, .task = ids[i].task, .att = ids[i].att };
        msg m;

        if (spool_open(r->config->work->dir, ids[i], &s, NULL) == VOLT_OK &&
            spool_read(s, SPOOL_ASSIGN, PART_MAX, &bytes, NULL) == VOLT_OK && bytes.n &&
            wire_decode(buf_slice(&bytes), &a, &m, NULL) == VOLT_OK && m.type == MSG_assign) {
            ev.msg = &m;
            ev.has_result = spool_has_result(s);
        }
        step(r, ev);
    }
    return code;
}

/* ---- effects ---- */

/* Acting on an epoch that may be forgotten is not allowed: without room it is tried again. */
static void save(runner *r, const agent_effect *e)
{
    volt_err err;

    KILL_POINT(before_save);
    if (runner_work_save(r->config->work, e->hist, e->ep, e->key, &err)) {
        r->unsaved = true;
        if (!r->unsaved_said)
            log_warn("%s; what runs goes on, and nothing new is taken until it can be written",
                     err.msg);
        r->unsaved_said = true;
    } else {
        r->unsaved_said = false;
    }
    KILL_POINT(after_save);
}

static void leave(runner *r, const agent_effect *e)
{
    r->left = true;
    r->why = e->why;
    if (e->why == AGENT_REFUSED)
        log_error("the dispatcher refuses this runner: %s", e->text);
    else
        log_note("%s", e->text);
}

static void carry_out(runner *r, agent_effect e)
{
    switch (e.kind) {
    case AGENT_SEND:
        if (!r->unsaved)
            send(r, e.msg);
        break;
    case AGENT_EXEC:
        send_exec(r, e.slot, e.msg);
        break;
    case AGENT_SPAWN:
        executors_spawn(r->executors, e.slot);
        break;
    case AGENT_KILL:
        executors_kill(r->executors, e.slot);
        break;
    case AGENT_SAVE:
        save(r, &e);
        break;
    case AGENT_READ_LOG:
        want_log(r, &e);
        break;
    case AGENT_READ:
        read_part(r, e);
        break;
    case AGENT_DELETE_SPOOL:
        delete_later(r, (spool_id){ e.task, e.att });
        break;
    case AGENT_RECONNECT:
        r->address++;
        if (connect_to(r, &r->err))
            r->failed = r->err.code;
        break;
    case AGENT_SAY:
        if (r->unsaved)
            break;
        log_write(e.warn ? LOG_WARN : LOG_NOTE, "%s", e.text);
        break;
    case AGENT_EXIT:
        leave(r, &e);
        break;
    }
}

static void step(runner *r, agent_event ev)
{
    ev.now_ms = loop_now_ms();
    agent_step(r->agent, &ev, &r->out);
    for (size_t i = 0; i < r->out.n && !r->failed; i++) /* reading adds to it */
        carry_out(r, r->out.v[i]);
    agent_effects_clear(&r->out);
    if (r->unsaved) {
        r->unsaved = false;
        step(r, (agent_event){ .kind = AGENT_UNSAVED });
    }
}

/* ---- running ---- */

static void on_signal(void *ctx, int number)
{
    runner *r = ctx;

    if (number == SIGCHLD)
        executors_reap(r->executors);
    else if (number == SIGTERM && r->terms++ == 0)
        step(r, (agent_event){ .kind = AGENT_DRAIN });
    else
        step(r, (agent_event){ .kind = AGENT_STOP });
}

/* A deleted work directory is made again, empty.  Executors would go on in what is no longer to be
 * found, where a result is never read: others begin in the new one. */
static void look_after_work(runner *r)
{
    runner_work *w = r->config->work;
    int64_t now_ms = loop_now_ms();

    if (now_ms < r->look_at)
        return;
    r->look_at = now_ms + LOOK_MS;
    if (runner_work_is_whole(w))
        return;
    r->failed = runner_work_mend(w, &r->err);
    if (r->failed)
        volt_wrap(&r->err, r->failed, "the work directory was deleted and cannot be made again");
    else
        log_warn("'%s' was deleted, or some of it: it was made again, and what ran is given back",
                 w->dir);
    executors_kill_all(r->executors);
}

static volt_code run(runner *r, volt_err *err)
{
    volt_code code = VOLT_OK;

    while (!code && !r->left && !r->failed) {
        int64_t at = agent_next_deadline_ms(r->agent), other = executors_deadline_ms(r->executors);

        at = at < other ? at : other;
        at = r->reads_n || r->deletes_n ? 0 : at < r->look_at ? at : r->look_at;
        code = loop_wait(r->loop, at, NULL, err);
        if (code || r->left)
            break;
        look_after_work(r);
        executors_due(r->executors, loop_now_ms());
        read_logs(r);
        delete_some(r, DELETES_TURN);
        if (!r->left && agent_next_deadline_ms(r->agent) <= loop_now_ms())
            step(r, (agent_event){ .kind = AGENT_TICK });
    }
    if (r->failed && err)
        *err = r->err;
    return code ? code : r->failed;
}

static volt_code begin(runner *r, volt_err *err)
{
    volt_code code = find_spooled(r, err);

    if (code)
        return code;
    executors_adopt(r->executors);
    step(r, (agent_event){ .kind = AGENT_BEGIN });
    return VOLT_OK;
}

static void close_runner(runner *r)
{
    delete_some(r, DELETES_MAX);
    if (r->dealer) {
        loop_remove_sock(r->loop, r->dealer);
        sock_free_linger(r->dealer, LINGER_MS);
    }
    executors_free(r->executors);
    agent_free(r->agent);
    agent_effects_free(&r->out);
    loop_free(r->loop);
    buf_free(&r->frame);
    arena_free(&r->decoded);
    free(r->reads);
}

volt_code runner_run(const runner_config *config, exit_code *ret, volt_err *err)
{
    runner r = { .config = config };
    agent_config agent = config->agent;
    executors_config executors = { .work = config->work->dir,
                                   .args = config->args,
                                   .up = executor_up,
                                   .frame = executor_frame,
                                   .gone = executor_gone,
                                   .ctx = &r };
    volt_code code;

    r.loop = executors.loop = loop_new();
    r.reads = NEW_ARRAY(log_read, READS_MAX);
    agent.id = config->work->id;
    agent.hist = config->work->hist;
    agent.maxep = config->work->maxep;
    agent.key = config->work->key;
    r.agent = agent_new(&agent);
    code = loop_signals(r.loop, on_signal, &r, err);
    r.executors = executors_new(&executors);
    if (!code)
        code = resolve(&r, err);
    if (!code)
        code = connect_to(&r, err);
    if (!code)
        code = begin(&r, err);
    if (!code)
        code = run(&r, err);
    /* A refused runner's tasks go on: a newer program may take them over within the lease. */
    if (!code && r.why != AGENT_REFUSED)
        executors_end(r.executors, END_MS);
    if (!code)
        *ret = r.why == AGENT_DRAINED   ? EXIT_DONE
               : r.why == AGENT_REFUSED ? EXIT_REFUSED
                                        : EXIT_INTERRUPTED;
    close_runner(&r);
    return code;
}
