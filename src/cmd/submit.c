#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "base/text.h"
#include "cmd/observer/names.h"
#include "cmd/outcome.h"
#include "core/env.h"
#include "git/refs.h"
#include "git/remote.h"

#define REMOTE_LIMIT_MS 60000 /* for asking a remote for its branches */

DEFINE_CLEANUP(client *, client_free);
DEFINE_CLEANUP(refs *, refs_free);

static inline void cleanup_ref_list(ref_list *list)
{
    ref_list_free(list);
}

static inline void cleanup_observer_source(observer_source *s)
{
    observer_source_free(s);
}

/* What is found out about the commit; texts are owned. */
typedef struct found {
    commit_note note; /* of a local repository; else only the id */
    char *ref;
    char *default_branch; /* full name; may be NULL */
} found;

static void cleanup_found(found *f)
{
    free(f->ref);
    free(f->default_branch);
}

static bool is_full(const char *text)
{
    return strncmp(text, "refs/", 5) == 0;
}

/* The full name of a ref of which refs/heads/ or refs/tags/ may be left out. */
static char *full_ref(const ref_list *list, const char *text)
{
    CLEANUP(free)
    char *tag = mem_printf("refs/tags/%s", text);

    if (is_full(text))
        return mem_strdup(text);
    return ref_list_find(list, tag) ? TAKE(tag) : mem_printf("refs/heads/%s", text);
}

/* The full name of what --ref says.  One that is given in full need not be there: a mirror does not
 * have every ref of its origin.  VOLT_ENOTFOUND: no branch or tag is called so. */
static volt_code asked_ref(const ref_list *list, const char *text, char **ret, volt_err *err)
{
    CLEANUP(free)
    char *full = full_ref(list, text);
    nearest near = { .typed = text };
    const char *meant;

    if (is_full(text) || ref_list_find(list, full)) {
        *ret = TAKE(full);
        return VOLT_OK;
    }
    for (size_t i = 0; i < list->n; i++) /* refs/heads/... and refs/tags/... */
        nearest_try(&near, strchr(list->v[i].name + strlen("refs/"), '/') + 1);
    meant = nearest_found(&near);
    if (meant)
        return volt_fail(err, VOLT_ENOTFOUND, "no branch or tag '%s'; did you mean '%s'?", text,
                         meant);
    return volt_fail(err, VOLT_ENOTFOUND,
                     "no branch or tag '%s'; give one that is not there in full, as %s", text,
                     full);
}

static bool is_branch(const ref_item *item)
{
    return strncmp(item->name, "refs/heads/", 11) == 0;
}

/* True when the branch at `tip` has the commit: nothing is left of it beyond the tip's history. */
static bool contains(refs *r, const commit_id *tip, const commit_id *id)
{
    const commit_range range = { .from = tip, .to = id, .max = 1 };
    commit_list list = { 0 };
    bool in = refs_between(r, &range, &list, NULL) == VOLT_OK && list.n == 0;

    free(list.v);
    return in;
}

/* The ref that a commit is tested on when --ref is not given: the one that COMMIT names, else a
 * branch whose tip it is, else one that contains it, the default branch before all others. */
static char *find_ref(refs *r, const ref_list *list, const char *text, const found *f)
{
    CLEANUP(free)
    char *named = full_ref(list, text);
    const ref_item *home = f->default_branch ? ref_list_find(list, f->default_branch) : NULL;

    if (ref_list_find(list, named))
        return TAKE(named);
    if (home && commit_id_eq(&home->id, &f->note.id))
        return mem_strdup(home->name);
    for (size_t i = 0; i < list->n; i++)
        if (is_branch(&list->v[i]) && commit_id_eq(&list->v[i].id, &f->note.id))
            return mem_strdup(list->v[i].name);
    if (home && contains(r, &home->id, &f->note.id))
        return mem_strdup(home->name);
    for (size_t i = 0; i < list->n; i++)
        if (is_branch(&list->v[i]) && contains(r, &list->v[i].id, &f->note.id))
            return mem_strdup(list->v[i].name);
    return f->default_branch ? mem_strdup(f->default_branch) : NULL;
}

static volt_code find_local(const observer_source *s, const char *commit, const char *ref, found *f,
                            volt_err *err)
{
    static const char *const globs[] = { "refs/heads/**", "refs/tags/**" };
    CLEANUP(refs_free)
    refs *r = NULL;
    CLEANUP(ref_list)
    ref_list list = { 0 };
    commit_id id;
    volt_code code = refs_open(s->path, &r, err);

    if (!code)
        code = refs_resolve(r, commit, &id, err);
    if (!code)
        code = refs_commit(r, &id, &f->note, err);
    if (!code)
        code = refs_list(r, globs, 2, &list, err);
    if (code)
        return code;
    if (refs_default_branch(r, &f->default_branch, NULL))
        f->default_branch = NULL; /* HEAD is detached */
    if (ref)
        return asked_ref(&list, ref, &f->ref, err);
    f->ref = find_ref(r, &list, commit, f);
    return VOLT_OK;
}

/* A remote is asked only for what the command line does not say. */
static volt_code find_remote(const observer_source *s, const char *commit, const char *ref,
                             found *f, volt_err *err)
{
    static const char *const globs[] = { "refs/heads/**", "refs/tags/**" };
    remote_answer answer = { 0 };
    CLEANUP(free)
    char *named = NULL;
    const ref_item *item;
    volt_code code;

    if (ref && is_full(ref) && text_is_oid(slice_of(commit))) {
        f->ref = mem_strdup(ref);
        return commit_id_parse(slice_of(commit), &f->note.id, err);
    }
    code = remote_list(s->text, globs, 2, true, REMOTE_LIMIT_MS, &answer, err);
    if (code)
        return code;
    named = full_ref(&answer.refs, commit);
    item = ref_list_find(&answer.refs, named);
    f->default_branch = TAKE(answer.default_branch);
    if (text_is_oid(slice_of(commit)))
        commit_id_parse(slice_of(commit), &f->note.id, NULL);
    else if (item)
        f->note.id = item->id;
    else if (strcmp(commit, "HEAD") == 0 && *answer.head.hex)
        f->note.id = answer.head;
    else
        code = volt_fail(err, VOLT_ENOTFOUND, "no branch or tag '%s' at %s; give a full commit id",
                         commit, s->url);
    for (size_t i = 0; !ref && !item && i < answer.refs.n; i++)
        if (commit_id_eq(&answer.refs.v[i].id, &f->note.id) &&
            (!item || (f->default_branch && strcmp(answer.refs.v[i].name, f->default_branch) == 0)))
            item = &answer.refs.v[i];
    if (ref && !code)
        code = asked_ref(&answer.refs, ref, &f->ref, err);
    else if (item || f->default_branch)
        f->ref = mem_strdup(item ? item->name : f->default_branch);
    remote_answer_free(&answer);
    return code;
}

/* What hooks are given for a ref that was deleted. */
static bool is_null_id(const char *commit)
{
    size_t n = strlen(commit);

    return (n == 40 || n == 64) && strspn(commit, "0") == n;
}

static exit_code submit(const command_line *line, const observer_source *s, const found *f,
                        slices env)
{
    CLEANUP(client_free)
    client *c = NULL;
    const char *branch = f->default_branch ? f->default_branch : "";
    char sid[33];
    volt_err err = { 0 };
    msg question = { .type = MSG_submit,
                     .submit = { .repo = slice_of(s->name),
                                 .url = slice_of(s->url),
                                 .oid = slice_of(f->note.id.hex),
                                 .ref = slice_of(f->ref),
                                 .subject = slice_of(f->note.subject),
                                 .author = slice_of(f->note.author),
                                 .priority = (uint64_t)command_number(line, "priority"),
                                 .env = env } };

    if (strncmp(branch, "refs/heads/", 11) == 0)
        branch += 11;
    question.submit.default_branch = slice_of(branch);
    client_new_sid(sid);
    question.submit.sid = (slice){ sid, 32 };
    if (client_new(line, &c, &err))
        return command_fail(line, &err);
    return outcome_of(line, c, &question);
}

/* The variables of --env, in `a`; NULL, or what is wrong with them. */
static const char *read_env(const command_line *line, arena *a, slices *ret)
{
    const char *const *texts;
    size_t n = command_list(line, "env", &texts);

    *ret = (slices){ ARENA_ARRAY(a, slice, n), n };
    for (size_t i = 0; i < n; i++)
        ret->v[i] = slice_of(texts[i]);
    return env_check(*ret, a);
}

static exit_code run(const command_line *line)
{
    CLEANUP(arena)
    arena mem = { 0 };
    CLEANUP(observer_source)
    observer_source s = { 0 };
    CLEANUP(found)
    found f = { 0 };
    const char *const *args;
    const char *ref = command_text(line, "ref"), *wrong;
    slices env;
    volt_err err = { 0 };
    volt_code code;

    command_args(line, &args);
    if (!*args[1] || (ref && !*ref))
        return command_fail_with(line, EXIT_USAGE, "%s is empty; give a branch, a tag%s",
                                 *args[1] ? "--ref" : "COMMIT",
                                 *args[1] ? " or a full ref" : " or a commit id");
    if (is_null_id(args[1])) {
        fprintf(stderr, "nothing to test: %s was deleted\n", ref ? ref : "the ref");
        return EXIT_DONE;
    }
    wrong = read_env(line, &mem, &env);
    if (wrong)
        return command_fail_with(line, EXIT_USAGE, "--env: %s", wrong);
    code = git_setup(&err);
    if (!code)
        code = observer_source_read(args[0], &s, &err);
    if (!code)
        code = s.path ? find_local(&s, args[1], ref, &f, &err)
                      : find_remote(&s, args[1], ref, &f, &err);
    if (code)
        return command_fail(line, &err);
    if (!f.ref)
        return command_fail_with(
            line, EXIT_USAGE, "%s is on no branch of '%s'; say which with --ref", args[1], args[0]);
    return submit(line, &s, &f, env);
}

static const option_spec options[] = {
    { .name = "ref",
      .kind = OPTION_TEXT,
      .arg = "REF",
      .help = "the branch or tag it is tested on, or a full ref, which need not be there "
              "(refs/pull/1/head); default: the one COMMIT names, or a branch that contains it",
      .no_env = true },
    { .name = "priority",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "0",
      .max = 1000,
      .help = "greater goes first",
      .no_env = true },
    { .name = "env",
      .kind = OPTION_LIST,
      .arg = "NAME=VALUE",
      .help = "a variable of all its tasks, before what the pipeline file says; no place for "
              "secrets, for it is stored and shown",
      .no_env = true },
    OPTION_WAIT,
    OPTION_DISPATCHER,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_COLOR,
};

const command command_submit = {
    .name = "submit",
    .args = "REPO COMMIT",
    .args_min = 2,
    .args_max = 2,
    .summary = "have a commit tested",
    .text = "REPO is a path (. is the repository that the current directory is in) or a URL that "
            "the runners can reach, or NAME=PATH where its last part is not the name wanted. "
            "COMMIT is a commit id, a branch or a tag, and in a local repository anything that git "
            "understands (HEAD~2).\n"
            "The same commit on the same ref is tested once: a known one is answered with its "
            "build and verdict. That makes one line in a hook or in cron a trigger; see also "
            "rebuild. With --env it is tested again, unless its newest build had the same "
            "variables; rebuild and retry keep them.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
