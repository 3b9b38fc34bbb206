#include "cmd/observer/repo.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "git/mirror.h"
#include "git/remote.h"

/* A push moves several refs within a millisecond or two: one look for all of them. */
#define HINT_MS        3
#define ASK_LIMIT_MS   60000            /* of an ls-remote */
#define FETCH_LIMIT_MS (30 * 60 * 1000) /* of a fetch: a first one may be large */
#define BACKOFF_MAX_MS 60000            /* between looks at a remote that fails */
#define DIRS_EVERY     12               /* looks between lists of directories nobody hinted at */
#define DIRS_PASSES    4                /* at once; the next look goes on */
#define HISTORY_MAX    100000           /* commits of one LIST; of more the oldest are left out */
#define BASES_MAX      64               /* branches that a new one is compared with */

typedef struct job {
    list in_jobs;
    char *ref;
    commit_id old, to;
    commit_id *known;
    size_t known_n;
    bool tip_only;
} job;

struct observer_repo {
    observer_repo_config c;
    refs *handle; /* local; NULL: to be opened */
    ref_list last;
    char *head;
    bool known, seen, failed;
    int64_t look_ms;
    unsigned fails;                      /* in a row */
    char trouble[VOLT_ERR_MSG_MAX];      /* of the last look, so that it is told once */
    char list_trouble[VOLT_ERR_MSG_MAX]; /* likewise of a list of commits */
    unsigned looks; /* since directories were listed; >= DIRS_EVERY: list them */
    bool hints_failed;
    remote_query *query;
    int query_fd;
    list jobs; /* remote: LISTs that wait for a fetch */
    mirror_fetch *fetch;
    int fetch_fd;
};

DEFINE_CLEANUP(refs *, refs_free);

/* ---- trouble ---- */

static void failed(observer_repo *r, const volt_err *err, int64_t now_ms)
{
    int64_t wait = r->c.interval_ms;
    bool news = strcmp(r->trouble, err->msg) != 0;
    char text[TEXT_DURATION_MAX];

    if (!r->c.path) {
        int64_t most = wait > BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;

        for (unsigned i = 0; i < r->fails && wait < most; i++)
            wait *= 2;
        wait = wait < most ? wait : most;
    }
    r->failed = true;
    r->fails++;
    r->look_ms = now_ms + wait;
    if (news && r->c.once)
        log_error("%s: %s", r->c.name, err->msg);
    else if (news)
        log_warn("%s: %s; looking again in %s", r->c.name, err->msg, text_show_ms(wait, text));
    memcpy(r->trouble, err->msg, sizeof r->trouble);
}

static void worked(observer_repo *r, int64_t now_ms)
{
    if (r->fails)
        log_note("%s: can be read again", r->c.name);
    r->trouble[0] = '\0';
    r->fails = 0;
    r->failed = false;
    r->look_ms = now_ms + r->c.interval_ms;
}

/* ---- what it has ---- */

static bool same_refs(const ref_list *a, const ref_list *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!commit_id_eq(&a->v[i].id, &b->v[i].id) || strcmp(a->v[i].name, b->v[i].name) != 0)
            return false;
    return true;
}

/* Why nothing is submitted at the first sight, though it could be looked at. */
static void say_what_lacks(const observer_repo *r)
{
    const char *then = r->c.once ? "" : "; waiting for a push";
    bool wants_head = !r->known && !r->c.from_now && !r->c.globs_n;

    if (!r->last.n)
        log_warn("%s: %s%s", r->c.name, r->c.globs_n ? "no ref matches" : "no commit yet", then);
    else if (wants_head && !*r->head)
        log_warn("%s: HEAD leads to no commit%s", r->c.name, then);
    else if (wants_head && !ref_list_find(&r->last, r->head))
        log_warn("%s: HEAD names '%s', which is not there%s", r->c.name, r->head, then);
}

/* Takes over `now` and `head` (may be NULL). */
static void sighted(observer_repo *r, ref_list *now, char *head)
{
    bool same = r->seen && same_refs(&r->last, now) && strcmp(r->head, head ? head : "") == 0;

    ref_list_free(&r->last);
    r->last = *now;
    *now = (ref_list){ 0 };
    free(r->head);
    r->head = head ? head : mem_strdup("");
    if (!r->seen)
        say_what_lacks(r);
    r->seen = true;
    if (!same)
        r->c.calls.sighted(r->c.calls.ctx, r->c.number, &r->last, r->head);
}

/* Watches the directories; once more when a new one was among them, for what was made in it before
 * it was watched. */
static void watch_dirs(observer_repo *r)
{
    bool more = true;
    volt_err err;

    if (!r->c.hint || r->looks++ < DIRS_EVERY)
        return;
    r->looks = 0;
    for (int i = 0; i < DIRS_PASSES && more; i++) {
        char **dirs = NULL;
        volt_code code = refs_watch_dirs(r->handle, &dirs, &err);

        if (code)
            return; /* refs_list() says so too */
        code = observer_hint_watch(r->c.hint, r->c.number, dirs, &more, &err);
        refs_watch_dirs_free(dirs);
        if (code) {
            if (!r->hints_failed)
                log_warn("%s: %s; it is looked at each interval only", r->c.name, err.msg);
            r->hints_failed = true;
            return;
        }
    }
    if (more)
        r->looks = DIRS_EVERY;
}

static volt_code look_local(observer_repo *r, volt_err *err)
{
    ref_list now = { 0 };
    char *head = NULL;
    commit_id id;
    volt_code code = VOLT_OK;

    if (!r->handle) {
        code = refs_open(r->c.path, &r->handle, err);
        r->looks = DIRS_EVERY;
    }
    if (!code) {
        watch_dirs(r); /* before the look: what moves after it is hinted at */
        code = refs_list(r->handle, r->c.globs, r->c.globs_n, &now, err);
    }
    if (code) {
        ref_list_free(&now);
        refs_free(TAKE(r->handle));
        return code;
    }
    if (refs_default_branch(r->handle, &head, NULL) && !r->known && r->c.globs_n == 0 &&
        refs_head(r->handle, &id, NULL) == VOLT_OK) {
        ref_list_add(&now, SLICE(OBSERVER_HEAD), &id);
        head = mem_strdup(OBSERVER_HEAD);
    }
    sighted(r, &now, head);
    return VOLT_OK;
}

static void end_query(observer_repo *r)
{
    if (!r->query)
        return;
    loop_remove_fd(r->c.loop, r->query_fd);
    remote_free(TAKE(r->query));
}

static void on_answer(void *ctx)
{
    observer_repo *r = ctx;
    remote_answer answer = { 0 };
    int64_t now_ms = loop_now_ms();
    volt_err err;
    char *head;
    volt_code code = remote_step(r->query, &answer, &err);

    if (code == VOLT_EAGAIN)
        return;
    end_query(r);
    if (code) {
        failed(r, &err, now_ms);
        return;
    }
    worked(r, now_ms);
    head = TAKE(answer.default_branch);
    if (!head && r->seen) { /* HEAD is asked for once */
        head = mem_strdup(r->head);
    } else if (!head && !r->known && r->c.globs_n == 0 && *answer.head.hex) {
        ref_list_add(&answer.refs, SLICE(OBSERVER_HEAD), &answer.head);
        head = mem_strdup(OBSERVER_HEAD);
    }
    sighted(r, &answer.refs, head);
    remote_answer_free(&answer);
}

static volt_code ask_remote(observer_repo *r, volt_err *err)
{
    volt_code code =
        remote_start(r->c.source, r->c.globs, r->c.globs_n, !r->seen, ASK_LIMIT_MS, &r->query, err);

    if (code)
        return code;
    r->query_fd = remote_fd(r->query);
    code = loop_add_fd(r->c.loop, r->query_fd, on_answer, r, err);
    if (code)
        remote_free(TAKE(r->query));
    return code;
}

void observer_repo_run(observer_repo *r, int64_t now_ms)
{
    volt_err err;

    if (now_ms < r->look_ms || r->query)
        return;
    if (!r->c.path) {
        if (ask_remote(r, &err))
            failed(r, &err, now_ms);
    } else if (look_local(r, &err)) {
        failed(r, &err, now_ms);
    } else {
        worked(r, now_ms);
    }
}

int64_t observer_repo_deadline_ms(const observer_repo *r)
{
    return r->query ? INT64_MAX : r->look_ms;
}

void observer_repo_hint(observer_repo *r, int64_t now_ms, bool dirs)
{
    if (dirs)
        r->looks = DIRS_EVERY;
    if (r->look_ms > now_ms + HINT_MS)
        r->look_ms = now_ms + HINT_MS;
}

void observer_repo_set_known(observer_repo *r)
{
    r->known = true;
}

/* ---- which commits came ---- */

static bool is_here(refs *handle, const commit_id *id)
{
    commit_note note;

    return *id->hex && refs_commit(handle, id, &note, NULL) == VOLT_OK;
}

/* Compared with the branch that has most of it: the shortest list. */
static volt_code between(refs *handle, const job *j, bool all_parents, commit_list *ret,
                         volt_err *err)
{
    commit_range range = { .to = &j->to, .max = HISTORY_MAX, .first_parent = !all_parents };
    commit_list best = { 0 };
    bool any = false;
    volt_code code;

    if (is_here(handle, &j->old)) {
        range.from = &j->old;
        return refs_between(handle, &range, ret, err);
    }
    for (size_t i = 0; i < j->known_n && i < BASES_MAX && (!any || best.n > 1); i++) {
        commit_list one = { 0 };

        if (!is_here(handle, &j->known[i]))
            continue;
        range.base = &j->known[i];
        code = refs_between(handle, &range, &one, err);
        if (code) {
            free(best.v);
            return code;
        }
        if (any && one.n >= best.n) {
            free(one.v);
            continue;
        }
        free(best.v);
        best = one;
        range.max = best.n > 1 ? best.n : 1;
        any = true;
    }
    *ret = best; /* nothing: the caller takes the tip */
    return VOLT_OK;
}

/* Answers from the repository that `handle` reads. */
static volt_code answer(observer_repo *r, refs *handle, const job *j, volt_err *err)
{
    CLEANUP(free)
    commit_note *notes = NULL;
    commit_list commits = { 0 };
    volt_code code = VOLT_OK;
    size_t n;

    if (!j->tip_only)
        code = between(handle, j, r->c.all_parents, &commits, err);
    if (commits.cut)
        log_warn("%s %s: more than %d commits came at once; the oldest are left out", r->c.name,
                 j->ref, HISTORY_MAX);
    n = commits.n < WATCH_LIST_MAX ? commits.n : WATCH_LIST_MAX;
    notes = NEW_ARRAY(commit_note, n ? n : 1);
    for (size_t i = 0; i < n && !code; i++)
        code = refs_commit(handle, &commits.v[i], &notes[i], err);
    if (!code && n == 0) {
        code = refs_commit(handle, &j->to, &notes[0], err);
        n = 1;
    }
    free(commits.v);
    if (code)
        return code;
    r->list_trouble[0] = '\0';
    r->c.calls.listed(r->c.calls.ctx, r->c.number, j->ref, notes, n);
    return VOLT_OK;
}

static void job_free(job *j)
{
    list_remove(&j->in_jobs);
    free(j->known);
    free(j->ref);
    free(j);
}

static void give_up(observer_repo *r, job *j, const volt_err *err)
{
    if (strcmp(r->list_trouble, err->msg) != 0)
        log_warn("%s %s: %s; trying again", r->c.name, j->ref, err->msg);
    memcpy(r->list_trouble, err->msg, sizeof r->list_trouble);
    r->c.calls.list_failed(r->c.calls.ctx, r->c.number, j->ref);
}

static void next_fetch(observer_repo *r);

static void on_fetched(void *ctx)
{
    observer_repo *r = ctx;
    job *j = LIST_OWNER(r->jobs.next, job, in_jobs);
    CLEANUP(refs_free)
    refs *handle = NULL;
    volt_err err;
    volt_code code = mirror_step(r->fetch, &err);

    if (code == VOLT_EAGAIN)
        return;
    loop_remove_fd(r->c.loop, r->fetch_fd);
    if (!code)
        code = refs_open(mirror_path(r->fetch), &handle, &err);
    mirror_free(TAKE(r->fetch));
    list_remove(&j->in_jobs);
    if (!code)
        code = answer(r, handle, j, &err);
    if (code)
        give_up(r, j, &err);
    job_free(j);
    next_fetch(r);
}

static volt_code start_fetch(observer_repo *r, const job *j, volt_err *err)
{
    const mirror_request request = { .work = r->c.work,
                                     .name = r->c.name,
                                     .source = r->c.source,
                                     .ref = strcmp(j->ref, OBSERVER_HEAD) == 0 ? "" : j->ref,
                                     .id = &j->to,
                                     .limit_ms = FETCH_LIMIT_MS };
    volt_code code = mirror_start(&request, &r->fetch, err);

    if (code)
        return code;
    r->fetch_fd = mirror_fd(r->fetch);
    code = loop_add_fd(r->c.loop, r->fetch_fd, on_fetched, r, err);
    if (code)
        mirror_free(TAKE(r->fetch));
    return code;
}

static void next_fetch(observer_repo *r)
{
    volt_err err;

    while (!r->fetch && !list_empty(&r->jobs)) {
        job *j = LIST_OWNER(r->jobs.next, job, in_jobs);

        if (start_fetch(r, j, &err) == VOLT_OK)
            return;
        list_remove(&j->in_jobs);
        give_up(r, j, &err);
        job_free(j);
    }
}

static job *job_of(const watch_effect *e)
{
    job *j = NEW(job);

    j->ref = mem_strndup(e->ref.p, e->ref.n);
    commit_id_parse(e->oid, &j->to, NULL);
    if (e->old.n)
        commit_id_parse(e->old, &j->old, NULL);
    j->tip_only = e->tip_only;
    j->known = NEW_ARRAY(commit_id, e->known.n ? e->known.n : 1);
    for (size_t i = 0; i < e->known.n; i++)
        if (commit_id_parse(e->known.v[i], &j->known[j->known_n], NULL) == VOLT_OK)
            j->known_n++;
    return j;
}

void observer_repo_list(observer_repo *r, const watch_effect *list)
{
    job *j = job_of(list);
    volt_err err = { .msg = "the repository cannot be read" };

    if (r->c.path) {
        if (!r->handle || answer(r, r->handle, j, &err))
            give_up(r, j, &err);
        job_free(j);
    } else if (!r->c.every || j->tip_only) { /* no history here, so no texts either */
        const commit_note tip = { .id = j->to };

        r->c.calls.listed(r->c.calls.ctx, r->c.number, j->ref, &tip, 1);
        job_free(j);
    } else {
        list_push(&r->jobs, &j->in_jobs);
        next_fetch(r);
    }
}

/* ---- life ---- */

observer_repo *observer_repo_new(const observer_repo_config *config)
{
    observer_repo *r = NEW(observer_repo);

    r->c = *config;
    r->head = mem_strdup("");
    list_init(&r->jobs);
    return r;
}

void observer_repo_free(observer_repo *r)
{
    if (!r)
        return;
    end_query(r);
    if (r->fetch) {
        loop_remove_fd(r->c.loop, r->fetch_fd);
        mirror_free(r->fetch);
    }
    while (!list_empty(&r->jobs))
        job_free(LIST_OWNER(r->jobs.next, job, in_jobs));
    refs_free(r->handle);
    ref_list_free(&r->last);
    free(r->head);
    free(r);
}

bool observer_repo_seen(const observer_repo *r)
{
    return r->seen;
}

bool observer_repo_empty(const observer_repo *r)
{
    return r->seen && !r->last.n && !r->c.globs_n;
}

bool observer_repo_failed(const observer_repo *r)
{
    return r->failed;
}
