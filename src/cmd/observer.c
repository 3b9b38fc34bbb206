#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/observer_hint.h"
#include "cmd/observer_link.h"
#include "cmd/observer_names.h"
#include "cmd/observer_repo.h"
#include "cmd/show.h"
#include "net/loop.h"
#include "role/observer_state.h"
#include "wire/codec.h"

#define FLUSH_MS        100  /* cursors are gathered so long: one fsync for a burst */
#define FLUSH_RETRY_MS  5000 /* after a failure */
#define INTERVAL_MIN_MS 50

/* What goes with one repository besides looking at it. */
typedef struct watched {
    observer_source source;
    observer_state *state;
    observer_repo *repo;
    bool spool_failed; /* in the batch under way */
    bool spooled;      /* likewise: something was written */
} watched;

typedef struct observer {
    watched *v;
    size_t n;
    watch *w;
    watch_effects out;
    bool busy;        /* effects are being carried out: new ones wait their turn in `out` */
    uint64_t *batch;  /* ids of submissions written, not yet durable */
    size_t *batch_of; /* their repositories */
    size_t batch_n, batch_cap;
    buf frame;
    loop *loop;
    observer_link *link;
    observer_hint *hint;
    const char *server;
    int64_t flush_ms; /* INT64_MAX: nothing to flush */
    log_limit spool_trouble, flush_trouble;
    bool looked_for; /* the silence of the dispatcher was told */
    int signal;      /* that ends us; 0: none */
} observer;

/* ---- effects ---- */

static void carry_out(observer *o);

static void feed(observer *o, watch_event ev)
{
    ev.now_ms = loop_now_ms();
    watch_step(o->w, &ev, &o->out);
    if (!o->busy)
        carry_out(o);
}

static void spool(observer *o, const watch_effect *e)
{
    watched *r = &o->v[e->repo];
    volt_err err;
    uint64_t held;

    buf_clear(&o->frame);
    wire_encode(e->msg, &o->frame);
    /* Behind one that failed nothing may be durable, or a crash would lose the first. */
    if (!r->spool_failed && observer_state_spool(r->state, e->n, buf_slice(&o->frame), &err)) {
        r->spool_failed = true;
        if (log_limit_pass(&o->spool_trouble, loop_now_ms(), &held))
            log_error("%s; nothing is lost, trying again", err.msg);
    }
    if (r->spool_failed) {
        feed(o, (watch_event){ .kind = WATCH_SPOOL_FAILED, .id = e->id });
        return;
    }
    r->spooled = true;
    if (o->batch_n == o->batch_cap) {
        o->batch_cap = o->batch_cap ? 2 * o->batch_cap : 64;
        o->batch = mem_grow(o->batch, o->batch_cap, sizeof *o->batch);
        o->batch_of = mem_grow(o->batch_of, o->batch_cap, sizeof *o->batch_of);
    }
    o->batch_of[o->batch_n] = e->repo;
    o->batch[o->batch_n++] = e->id;
}

/* One sync of the directory for all entries written in a row. */
static void end_batch(observer *o)
{
    volt_err err;
    uint64_t held;
    size_t n = o->batch_n;

    for (size_t i = 0; i < o->n; i++) {
        watched *r = &o->v[i];

        if (r->spooled && observer_state_sync(r->state, &err)) {
            r->spool_failed = true;
            if (log_limit_pass(&o->spool_trouble, loop_now_ms(), &held))
                log_error("%s; nothing is lost, trying again", err.msg);
        } else {
            r->spool_failed = false;
        }
        r->spooled = false;
    }
    o->batch_n = 0;
    for (size_t i = 0; i < n; i++)
        feed(o, (watch_event){ .kind = o->v[o->batch_of[i]].spool_failed ? WATCH_SPOOL_FAILED
                                                                         : WATCH_SPOOLED,
                               .id = o->batch[i] });
    for (size_t i = 0; i < o->n; i++)
        o->v[i].spool_failed = false;
}

static void push(observer *o, const watch_effect *e)
{
    volt_err err;
    volt_code code;

    buf_clear(&o->frame);
    wire_encode(e->msg, &o->frame);
    code = observer_link_push(o->link, buf_slice(&o->frame), &err);
    if (code && code != VOLT_EAGAIN)
        log_error("%s", err.msg);
    if (code)
        feed(o, (watch_event){ .kind = WATCH_BLOCKED, .id = e->id });
}

static void persist(observer *o, const watch_effect *e)
{
    observer_state *state = o->v[e->repo].state;

    if (e->kind == WATCH_DO_CURSOR)
        observer_state_cursor(state, e->ref, e->oid);
    else if (e->kind == WATCH_DO_UNSPOOL)
        observer_state_unspool(state, e->n);
    else
        observer_state_known(state);
    if (e->kind == WATCH_DO_KNOWN)
        observer_repo_set_known(o->v[e->repo].repo);
    if (o->flush_ms == INT64_MAX)
        o->flush_ms = loop_now_ms() + FLUSH_MS;
}

static void tell(const watch_effect *e)
{
    CLEANUP(buf)
    buf text = { 0 };

    show_text(&text, e->text, 0);
    log_write(e->warn ? LOG_WARN : LOG_NOTE, "%s", buf_str(&text));
}

static void do_effect(observer *o, const watch_effect *e)
{
    switch (e->kind) {
    case WATCH_DO_LIST:
        observer_repo_list(o->v[e->repo].repo, e);
        break;
    case WATCH_DO_SPOOL:
        spool(o, e);
        break;
    case WATCH_DO_PUSH:
        push(o, e);
        break;
    case WATCH_DO_QUERY:
        observer_link_query(o->link, e->msg);
        break;
    case WATCH_DO_CURSOR:
    case WATCH_DO_KNOWN:
    case WATCH_DO_UNSPOOL:
        persist(o, e);
        break;
    case WATCH_DO_TELL:
        tell(e);
        break;
    case WATCH_DO_SILENT:
        log_warn("no sign of a dispatcher at %s; waiting for it (is 'volt dispatcher' running?)",
                 o->server);
        break;
    case WATCH_DO_HEARD:
        log_note("the dispatcher at %s is there", o->server);
        break;
    }
}

/* Steps that effects cause append to the same list, so everything happens in the order in which it
 * was decided. */
static void carry_out(observer *o)
{
    o->busy = true;
    for (size_t i = 0;; i++) {
        watch_effect e;

        if (o->batch_n && (i == o->out.n || o->out.v[i].kind != WATCH_DO_SPOOL))
            end_batch(o);
        if (i == o->out.n)
            break;
        e = o->out.v[i]; /* the list may move */
        do_effect(o, &e);
    }
    watch_effects_clear(&o->out);
    o->busy = false;
}

/* ---- what happens ---- */

static void on_message(void *ctx, const msg *m)
{
    feed(ctx, (watch_event){ .kind = WATCH_MSG, .msg = m });
}

static void on_sighted(void *ctx, size_t number, const ref_list *refs, const char *head)
{
    watch_tip *tips = NEW_ARRAY(watch_tip, refs->n + 1);

    for (size_t i = 0; i < refs->n; i++)
        tips[i] = (watch_tip){ slice_of(refs->v[i].name), slice_of(refs->v[i].id.hex) };
    feed(ctx, (watch_event){ .kind = WATCH_REFS,
                             .repo = number,
                             .tips = tips,
                             .tips_n = refs->n,
                             .head = slice_of(head) });
    free(tips);
}

static void on_listed(void *ctx, size_t number, const char *ref, const commit_note *v, size_t n)
{
    watch_commit *commits = NEW_ARRAY(watch_commit, n + 1);

    for (size_t i = 0; i < n; i++)
        commits[i] =
            (watch_commit){ slice_of(v[i].id.hex), slice_of(v[i].subject), slice_of(v[i].author) };
    feed(ctx, (watch_event){ .kind = WATCH_LISTED,
                             .repo = number,
                             .ref = slice_of(ref),
                             .commits = commits,
                             .commits_n = n });
    free(commits);
}

static void on_list_failed(void *ctx, size_t number, const char *ref)
{
    feed(ctx, (watch_event){ .kind = WATCH_LIST_FAILED, .repo = number, .ref = slice_of(ref) });
}

static void on_hint(void *ctx, size_t repo, bool dirs)
{
    observer *o = ctx;
    int64_t now_ms = loop_now_ms();

    for (size_t i = 0; i < o->n; i++)
        if (repo == HINT_ALL ? o->v[i].source.path != NULL : repo == i)
            observer_repo_hint(o->v[i].repo, now_ms, dirs);
}

static void on_hints(void *ctx)
{
    observer *o = ctx;

    observer_hint_read(o->hint, on_hint, o);
}

static void on_signal(void *ctx, int number)
{
    observer *o = ctx;

    if (number == SIGHUP)
        for (size_t i = 0; i < o->n; i++)
            observer_repo_hint(o->v[i].repo, loop_now_ms(), true);
    else if (number == SIGINT || number == SIGTERM)
        o->signal = number;
}

/* ---- the loop ---- */

static void flush(observer *o)
{
    volt_err err;
    uint64_t held;

    o->flush_ms = INT64_MAX;
    for (size_t i = 0; i < o->n; i++)
        if (observer_state_flush(o->v[i].state, &err)) {
            o->flush_ms = loop_now_ms() + FLUSH_RETRY_MS;
            if (log_limit_pass(&o->flush_trouble, loop_now_ms(), &held))
                log_error("%s; nothing is lost, trying again", err.msg);
        }
}

static int64_t next_deadline_ms(const observer *o)
{
    int64_t at = watch_next_deadline_ms(o->w);

    at = observer_link_deadline_ms(o->link) < at ? observer_link_deadline_ms(o->link) : at;
    at = o->flush_ms < at ? o->flush_ms : at;
    for (size_t i = 0; i < o->n; i++) {
        int64_t look = observer_repo_deadline_ms(o->v[i].repo);

        at = look < at ? look : at;
    }
    return at;
}

/* With --once: each repository was looked at, or cannot be, and nothing waits for an answer. */
static bool all_done(const observer *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (!observer_repo_seen(o->v[i].repo) && !observer_repo_failed(o->v[i].repo))
            return false;
    return watch_pending(o->w) == 0;
}

static exit_code run(const command_line *line, observer *o)
{
    bool once = command_flag(line, "once");
    volt_err err;

    while (!o->signal && !(once && all_done(o))) {
        int64_t now_ms;

        if (loop_wait(o->loop, next_deadline_ms(o), NULL, &err))
            return command_fail(line, &err);
        now_ms = loop_now_ms();
        for (size_t i = 0; i < o->n; i++)
            observer_repo_run(o->v[i].repo, now_ms);
        feed(o, (watch_event){ .kind = WATCH_TICK });
        observer_link_tick(o->link, now_ms, watch_heard(o->w));
        if (now_ms >= o->flush_ms)
            flush(o);
    }
    flush(o);
    if (!once)
        return EXIT_DONE;
    if (o->signal)
        return EXIT_INTERRUPTED;
    for (size_t i = 0; i < o->n; i++)
        if (!observer_repo_seen(o->v[i].repo))
            return EXIT_NOT_FOUND;
    return watch_refused(o->w) ? EXIT_REFUSED : EXIT_DONE;
}

/* ---- setting up ---- */

static uint64_t seed(void)
{
    uint64_t x;

    randombytes_buf(&x, sizeof x);
    return x;
}

static volt_code make_obs(const char *dir, const char *name, char **ret, volt_err *err)
{
    unsigned char bytes[16];
    char fresh[33], id[33];
    volt_code code;

    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(fresh, sizeof fresh, bytes, sizeof bytes);
    code = observer_state_id(dir, fresh, id, err);
    if (code)
        return code;
    /* The id stays in it: two observers of one name would hear each other's answers. */
    *ret = name ? mem_printf("%s-%.16s", name, id) : mem_strdup(id);
    return VOLT_OK;
}

/* The --branch and --ref globs as full names, and on one line for the state. */
static size_t make_globs(const command_line *line, const char ***ret, buf *filter)
{
    const char *const *branches, *const *refs;
    size_t nb = command_list(line, "branch", &branches), nr = command_list(line, "ref", &refs);
    const char **v = NEW_ARRAY(const char *, nb + nr + 1);
    size_t n = 0;

    for (size_t i = 0; i < nb; i++)
        v[n++] = strncmp(branches[i], "refs/", 5) == 0 ? branches[i]
                                                       : mem_printf("refs/heads/%s", branches[i]);
    for (size_t i = 0; i < nr; i++)
        v[n++] = strncmp(refs[i], "refs/", 5) == 0 ? refs[i] : mem_printf("refs/%s", refs[i]);
    for (size_t i = 0; i < n; i++)
        buf_addf(filter, "%s%s", i ? " " : "", v[i]);
    *ret = v;
    return n;
}

typedef struct plan { /* what the options say, for all repositories */
    const char *dir;
    const char *server;
    const char *const *globs;
    size_t globs_n;
    const char *filter;
    bool every, all_parents, from_now;
    int64_t interval_ms;
} plan;

static volt_code add_repo(observer *o, size_t i, const plan *p, volt_err *err)
{
    watched *r = &o->v[i];
    const observer_state_config config = { .dir = p->dir,
                                           .name = r->source.name,
                                           .url = r->source.url,
                                           .dispatcher = p->server,
                                           .filter = p->filter };
    volt_code code = observer_state_open(&config, &r->state, err);

    if (code)
        return code;
    watch_add(o->w, &(watch_repo_config){ .name = slice_of(r->source.name),
                                          .url = slice_of(r->source.url),
                                          .policy = p->every ? WATCH_EVERY : WATCH_LATEST,
                                          .from_now = p->from_now });
    code = observer_state_restore(r->state, o->w, i, err);
    if (code)
        return code;
    r->repo = observer_repo_new(&(observer_repo_config){
        .number = i,
        .name = r->source.name,
        .source = r->source.text,
        .path = r->source.path,
        .url = r->source.url,
        .globs = p->globs,
        .globs_n = p->globs_n,
        .every = p->every,
        .all_parents = p->all_parents,
        .work = p->dir,
        .interval_ms = p->interval_ms,
        .loop = o->loop,
        .hint = o->hint,
        .calls = { o, on_sighted, on_listed, on_list_failed },
    });
    if (watch_known(o->w, i))
        observer_repo_set_known(r->repo);
    return VOLT_OK;
}

static volt_code set_up(observer *o, const plan *p, const addr *dispatcher, const char *name,
                        volt_err *err)
{
    CLEANUP(free)
    char *obs = NULL;
    volt_err why;
    volt_code code = make_obs(p->dir, name, &obs, err);

    if (code)
        return code;
    o->server = p->server;
    o->loop = loop_new();
    code = loop_signals(o->loop, on_signal, o, err); /* before the first socket makes threads */
    if (code)
        return code;
    if (observer_hint_new(&o->hint, &why))
        log_warn("%s; repositories are looked at each interval only", why.msg);
    else
        code = loop_add_fd(o->loop, observer_hint_fd(o->hint), on_hints, o, err);
    o->w = watch_new(slice_of(obs), seed());
    o->flush_ms = INT64_MAX;
    for (size_t i = 0; i < o->n && !code; i++)
        code = add_repo(o, i, p, err);
    if (!code)
        code = observer_link_new(o->loop, dispatcher, obs, on_message, o, &o->link, err);
    return code;
}

static void tear_down(observer *o)
{
    for (size_t i = 0; i < o->n; i++) {
        observer_repo_free(o->v[i].repo);
        observer_state_free(o->v[i].state);
        observer_source_free(&o->v[i].source);
    }
    observer_link_free(o->link);
    if (o->hint)
        loop_remove_fd(o->loop, observer_hint_fd(o->hint));
    observer_hint_free(o->hint);
    loop_free(o->loop);
    watch_free(o->w);
    watch_effects_free(&o->out);
    buf_free(&o->frame);
    free(o->batch);
    free(o->batch_of);
    free(o->v);
}

static exit_code read_sources(const command_line *line, observer *o)
{
    const char *const *args;
    size_t n = command_args(line, &args);
    volt_err err;

    o->v = NEW_ARRAY(watched, n);
    for (size_t i = 0; i < n; i++) {
        if (observer_source_read(args[i], &o->v[i].source, &err))
            return command_fail_with(line, EXIT_USAGE, "%s", err.msg);
        o->n = i + 1;
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->v[k].source.name, o->v[i].source.name) == 0)
                return command_fail_with(line, EXIT_USAGE,
                                         "two repositories are called '%s' (%s and %s); give one "
                                         "another name with NAME=%s",
                                         o->v[i].source.name, o->v[k].source.url,
                                         o->v[i].source.url, args[i]);
    }
    return EXIT_DONE;
}

static exit_code check(const command_line *line, plan *p, addr *dispatcher)
{
    const char *policy = command_text(line, "policy");
    volt_err err;

    if (addr_parse(command_text(line, "dispatcher-server"), dispatcher, &err))
        return command_fail_with(line, EXIT_USAGE, "%s", err.msg);
    p->every = strcmp(policy, "every") == 0;
    if (!p->every && strcmp(policy, "latest") != 0)
        return command_fail_with(line, EXIT_USAGE, "--policy is '%s'; use latest or every", policy);
    p->all_parents = command_flag(line, "all-parents");
    if (p->all_parents && command_flag(line, "first-parent"))
        return command_fail_with(line, EXIT_USAGE,
                                 "--first-parent and --all-parents exclude each "
                                 "other");
    p->from_now = command_flag(line, "from-now");
    p->interval_ms = command_ms(line, "interval");
    if (p->interval_ms < INTERVAL_MIN_MS)
        return command_fail_with(line, EXIT_USAGE, "--interval is shorter than %d ms",
                                 INTERVAL_MIN_MS);
    if (command_text(line, "name") && !observer_name_ok(command_text(line, "name")))
        return command_fail_with(line, EXIT_USAGE,
                                 "--name takes at most 40 letters, digits, '-' and '_'");
    return EXIT_DONE;
}

static exit_code observer_run(const command_line *line)
{
    CLEANUP(buf)
    buf filter = { 0 };
    CLEANUP(free)
    char *default_dir = command_state_dir("observer");
    const char **globs = NULL;
    char server[300];
    addr dispatcher;
    observer o = { 0 };
    plan p = { 0 };
    volt_err err;
    exit_code code = check(line, &p, &dispatcher);

    if (code)
        return code;
    if (sodium_init() < 0 || git_setup(&err))
        return command_fail_with(line, EXIT_USAGE, "cannot start libsodium or libgit2");
    addr_print(&dispatcher, server, sizeof server);
    p.server = server;
    p.dir = command_text(line, "state") ? command_text(line, "state") : default_dir;
    p.globs_n = make_globs(line, &globs, &filter);
    p.globs = globs;
    p.filter = buf_str(&filter);
    code = read_sources(line, &o);
    if (!code)
        code = set_up(&o, &p, &dispatcher, command_text(line, "name"), &err)
                   ? command_fail(line, &err)
                   : run(line, &o);
    tear_down(&o);
    free(globs); /* its texts stand for the life of the process, as the options do */
    git_teardown();
    return code;
}

static const option_spec options[] = {
    OPTION_DISPATCHER,
    { "interval", 0, OPTION_DURATION, "TIME", "5s", 0, 0,
      "how often to look; pushes to repositories on this machine are seen at once", false },
    { "branch", 0, OPTION_LIST, "GLOB", NULL, 0, 0, "watch these branches only", true },
    { "ref", 0, OPTION_LIST, "GLOB", NULL, 0, 0,
      "watch these refs, as tags/v* or refs/pull/*/head; without --branch nothing else", true },
    { "policy", 0, OPTION_TEXT, "latest|every", "latest", 0, 0,
      "submit the newest commit of a branch that moved, or each one on the way", false },
    { "first-parent", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "with every: of a merge only the merge itself (the default)", false },
    { "all-parents", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "with every: also the commits that a merge brought in", false },
    { "from-now", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "at the first sight of a repository submit nothing; else its HEAD, once", false },
    { "once", 0, OPTION_FLAG, NULL, NULL, 0, 0,
      "look once, and exit when all that is seen now has been accepted", false },
    { "state", 0, OPTION_TEXT, "DIR", NULL, 0, 0,
      "where to remember what was submitted (default $XDG_STATE_HOME/volt/observer)", false },
    { "name", 0, OPTION_TEXT, "NAME", NULL, 0, 0, "how this observer is called (default: its id)",
      false },
};

const command command_observer = {
    .name = "observer",
    .args = "REPO...",
    .args_min = 1,
    .args_max = -1,
    .summary = "watch git repositories and submit their commits",
    .text = "REPO is a path, a URL, or NAME=path or NAME=url; without a name it is called by its "
            "last component, without .git.\n\n"
            "Nothing is lost while the dispatcher or the observer is down: a submission is kept "
            "on disk until the dispatcher has it, and what moved meanwhile is seen at the next "
            "start.  A repository that cannot be read is said once and looked at again and "
            "again.\n\n"
            "SIGHUP makes it look at once.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = observer_run,
};
