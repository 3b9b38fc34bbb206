/*
 * fault_memory.c - memory runs out at the n-th allocation, for every n of some scenes.
 *
 * For each n a child is forked whose n-th allocation fails, alone or with all behind it.  A child
 * may go on as if nothing had been, say that something failed, or end with MEM_EXIT_CODE; a signal
 * or a broken promise is a fault.  In the scene of the dispatcher the child is forked where it
 * branches off; what it leaves on its disk is opened again, and the story goes on to its end.
 *
 * malloc() and its family are this program's own, so libraries get these, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "base/mem.h"
#include "base/rmtree.h"
#include "cmd/json.h"
#include "cmd/observer/names.h"
#include "disk.h"
#include "exec/spool.h"
#include "exec/walk.h"
#include "git/tree.h"
#include "git/workspace.h"
#include "story.h"
#include "wire/codec.h"

#define TURNS_MAX 600
#define FILES     40
/* The first of them, which take every point always. */
#define SHORT_SCENES 5

/* Exit statuses of a child, besides 0 (it went on), 1 (a promise is broken), MEM_EXIT_CODE. */
#define SAID        3
#define NOT_REACHED 4

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static struct {
    bool on;       /* allocations count */
    bool child;    /* its failure is decided */
    bool branches; /* the parent forks where it is */
    uint64_t n, at, every;
    bool all;       /* from `at` on */
    jmp_buf *ended; /* where to go instead of ending */
    uint64_t points, went_on, said, gave_up, bad;
    const char *scene;
} the;

/* ---- allocations ---- */

/* Forks the child of one point.  True in it. */
static bool fork_child(uint64_t at, bool all)
{
    fflush(NULL);
    if (fork() != 0)
        return false;
    the.child = true;
    the.at = at;
    the.all = all;
    return true;
}

/* False: it did not get that far. */
static bool reap_child(uint64_t at, bool all)
{
    int status;

    wait(&status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_REACHED)
        return false;
    the.points++;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        the.went_on++;
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == SAID) {
        the.said++;
    } else if (WIFEXITED(status) && WEXITSTATUS(status) == MEM_EXIT_CODE) {
        the.gave_up++;
    } else {
        the.bad++;
        printf("  %s: allocation %llu%s: ends with %s %d\n", the.scene, (unsigned long long)at,
               all ? " and all behind it" : "", WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return true;
}

static bool branches_off(void)
{
    for (int all = 0; all < 2; all++) {
        if (fork_child(the.n, all))
            return true;
        reap_child(the.n, all);
    }
    return false;
}

static bool denied(void)
{
    bool deny = false;

    if (!the.on || disk_quiet)
        return false;
    the.n++;
    if (the.child) {
        deny = the.n == the.at || (the.all && the.n > the.at);
    } else if (the.branches && the.n % the.every == 0) {
        the.on = false;
        deny = branches_off();
        the.on = true;
    }
    if (deny)
        errno = ENOMEM;
    return deny;
}

void *malloc(size_t n)
{
    return denied() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return denied() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return denied() ? NULL : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, bytes);
}

void *memalign(size_t align, size_t n)
{
    return denied() ? NULL : __libc_memalign(align, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **ret, size_t align, size_t n)
{
    void *p = memalign(align, n);

    if (p)
        *ret = p;
    return p ? 0 : ENOMEM;
}

/* The end that mem.h makes. */
void _exit(int status)
{
    if (the.ended && status == MEM_EXIT_CODE) {
        the.on = false;
        longjmp(*the.ended, 1);
    }
    for (;;)
        syscall(SYS_exit_group, status);
}

/* What mem.h says then is expected. */
ssize_t write(int fd, const void *p, size_t n)
{
    if (the.child && fd == STDERR_FILENO && memmem(p, n, "out of memory", 13))
        return (ssize_t)n;
    return syscall(SYS_write, fd, p, n);
}

/* Of the data directory: the child's would meet the parent's, which is the same open file. */
int flock(int fd, int operation)
{
    (void)fd, (void)operation;
    return 0;
}

/* ---- the dispatcher ---- */

/* A dispatcher that has no memory ends, and is started again where it has. */
static void tell_story(const char *dir)
{
    static jmp_buf ended;
    story *s;
    volatile unsigned turns = 0;
    volatile bool is_open = false;
    volt_err err;

    disk_install();
    disk_reset();
    s = story_new(dir, 1);
    the.ended = &ended;
    while (!story_ended(s)) {
        volatile volt_code code = VOLT_ENOMEM;

        if (++turns > TURNS_MAX)
            story_broken("it does not come to an end");
        if (setjmp(ended) == 0) {
            the.on = true;
            code = is_open ? story_turn(s, &err) : story_open(s, &err);
            the.on = false;
            is_open = true;
            if (code == VOLT_OK)
                continue;
            the.at = the.all = 0;
            story_close(s);
        } else {
            the.at = the.all = 0;
            story_abandon(s);
        }
        if (!the.child || code == VOLT_ECORRUPT || code == VOLT_EVERSION || code == VOLT_EEXISTS)
            story_broken("%s", err.msg);
        if (story_open(s, &err) != VOLT_OK)
            story_broken("open: %s", err.msg);
        story_check(s);
        is_open = true;
    }
    the.ended = NULL;
    story_check_end(s);
    story_free(s);
    disk_reset();
}

/* ---- messages ---- */

static msg status_message(void)
{
    static slice labels[] = { { "gpu", 3 }, { "\xff\xfe", 2 } };
    static rec_runner_row rows[3];

    for (size_t i = 0; i < 3; i++)
        rows[i] = (rec_runner_row){ .id = SLICE("0123456789abcdef0123456789abcdef"),
                                    .name = SLICE("box \xc3\xa9"),
                                    .state = RUNNER_UP,
                                    .mode = MODE_RUN,
                                    .slots = i,
                                    .labels = { labels, 2 } };
    return (msg){ .type = MSG_runners_are, .r = 7, .runners_are.rows = { rows, 3 } };
}

static bool same(const msg *a, const msg *b)
{
    buf one = { 0 }, two = { 0 };
    bool is;

    wire_print(a, &one);
    wire_print(b, &two);
    is = slice_eq(buf_slice(&one), buf_slice(&two));
    buf_free(&one);
    buf_free(&two);
    return is;
}

/* There and back. */
static int scene_codec(const char *dir)
{
    const msg m = status_message();
    buf frame = { 0 };
    arena a = { 0 };
    volt_err err;
    msg back;
    volt_code code;

    (void)dir;
    the.on = true;
    wire_encode(&m, &frame);
    code = wire_decode(buf_slice(&frame), &a, &back, &err);
    the.on = false;
    if (code != VOLT_OK)
        story_broken("takes its want of memory for: %s", err.msg);
    if (!same(&m, &back))
        story_broken("reads another message");
    arena_free(&a);
    buf_free(&frame);
    return 0;
}

static int scene_json(const char *dir)
{
    const msg m = status_message();
    static buf expected;
    buf out = { 0 };

    (void)dir;
    if (!expected.n)
        json_add_line(json_of_msg_whole(&m), &expected);
    the.on = true;
    json_add_line(json_of_msg_whole(&m), &out);
    the.on = false;
    if (!slice_eq(buf_slice(&expected), buf_slice(&out)))
        story_broken("prints less than there is");
    buf_free(&out);
    return 0;
}

/* ---- files ---- */

static volt_code spool_story(const char *work, spool_id id, buf *result, volt_err *err)
{
    spool *s = NULL;
    volt_code code = spool_create(work, id, SLICE("assigned"), &s, err);

    if (code == VOLT_OK)
        code = spool_add(s, SPOOL_TESTS, SLICE("outcomes"), err);
    if (code == VOLT_OK)
        code = spool_finish(s, SLICE("ended"), err);
    spool_free(s);
    s = NULL;
    if (code == VOLT_OK)
        code = spool_open(work, id, &s, err);
    if (code == VOLT_OK)
        code = spool_read(s, SPOOL_RESULT, 100, result, err);
    spool_free(s);
    return code;
}

static int scene_spool(const char *dir)
{
    const spool_id id = { 42, 3 };
    spool_id *v = NULL;
    buf result = { 0 };
    size_t n = 0;
    volt_err err;
    volt_code code, scanned;

    the.on = true;
    code = spool_story(dir, id, &result, &err);
    scanned = spool_scan(dir, &v, &n, &err);
    the.on = false;
    if (code == VOLT_OK && !slice_is(buf_slice(&result), "ended"))
        story_broken("the result reads otherwise");
    if (code == VOLT_OK && scanned == VOLT_OK && n != 1)
        story_broken("the scan finds %zu attempts", n);
    free(v);
    spool_delete(dir, id);
    buf_clear(&result);
    if (code != VOLT_OK && spool_story(dir, id, &result, &err) != VOLT_OK)
        story_broken("the spool cannot be used again: %s", err.msg);
    buf_free(&result);
    return code == VOLT_OK && scanned == VOLT_OK ? 0 : SAID;
}

static commit_id head;
static const char *source;

static void make_repository(const char *dir)
{
    char *command = mem_printf("cd %s && git init -q -b main repo && cd repo && mkdir -p a/b &&"
                               " for i in $(seq %d); do echo $i > a/b/f$i; done && git add . &&"
                               " git -c user.name=A -c user.email=a@example.org commit -qm x &&"
                               " git rev-parse HEAD > ../head",
                               dir, FILES);
    char *path = mem_printf("%s/head", dir);
    buf text = { 0 };
    volt_err err;

    if (system(command) != 0 || files_read(path, 100, &text, &err) ||
        commit_id_parse((slice){ text.p, 40 }, &head, &err) || git_setup(&err))
        story_broken("no repository to test with");
    source = mem_printf("%s/repo", dir);
    buf_free(&text);
    free(path);
    free(command);
}

static bool count_file(void *ctx, const tree_file *file)
{
    (void)file;
    ++*(size_t *)ctx;
    return true;
}

static int scene_listing(const char *dir)
{
    objects *o = NULL;
    size_t n = 0;
    volt_err err;
    volt_code code;

    (void)dir;
    the.on = true;
    code = objects_open(source, &o, &err);
    if (code == VOLT_OK)
        code = tree_walk(o, &head, "a", count_file, &n, &err);
    the.on = false;
    if (code == VOLT_OK && n != FILES)
        story_broken("lists %zu files of %d", n, FILES);
    objects_free(o);
    return code == VOLT_OK ? 0 : SAID;
}

static volt_code move(const char *dir, bool fails)
{
    char *path = mem_printf("%s/workspace", dir);
    workspace *ws;
    workspace_report report;
    volt_err err;
    volt_code code;

    the.on = fails;
    ws = workspace_open(path);
    code = workspace_move(ws, source, &head, &report, &err);
    the.on = false;
    for (int i = 1; i <= FILES && code == VOLT_OK; i++) {
        char *name = mem_printf("%s/a/b/f%d", path, i), *text = mem_printf("%d\n", i);
        buf got = { 0 };

        if (files_read(name, 100, &got, &err) || !slice_is(buf_slice(&got), text))
            story_broken("file %d of the workspace is not the commit's", i);
        buf_free(&got);
        free(name);
        free(text);
    }
    workspace_free(ws);
    free(path);
    return code;
}

static int scene_checkout(const char *dir)
{
    volt_code code = move(dir, true);

    if (code != VOLT_OK && move(dir, false) != VOLT_OK)
        story_broken("the workspace cannot be used again");
    return code == VOLT_OK ? 0 : SAID;
}

/* ---- what is on this machine ---- */

/* A repository behind a link is called the same each time, or it would be another one. */
static int scene_names(const char *dir)
{
    char *link = mem_printf("%s/link", dir);
    observer_source s;
    volt_err err;

    if (symlink(source, link) < 0 && errno != EEXIST)
        story_broken("no link to test with");
    the.on = true;
    if (observer_source_read(link, &s, &err))
        story_broken("%s", err.msg);
    the.on = false;
    if (strcmp(s.path, source) != 0)
        story_broken("'%s' is taken for '%s'", link, s.path);
    observer_source_free(&s);
    free(link);
    return 0;
}

/* An empty list would say that all a task started has ended. */
static int scene_processes(const char *dir)
{
    walk w;
    bool seen = false;

    (void)dir;
    the.on = true;
    if (walk_open(&w))
        walk_look(&w);
    the.on = false;
    for (size_t i = 0; i < w.n; i++)
        seen = seen || w.v[i].pid == getpid();
    if (!seen)
        story_broken("a process that runs is not seen");
    cleanup_walk(&w);
    return 0;
}

/* ---- all of them ---- */

/* Each point from the scene's start, in a directory of its own. */
static void try_all(const char *dir, int (*scene)(const char *dir))
{
    bool reached = true;

    scene(dir); /* once without trouble: what is made once is made */
    for (uint64_t at = 1; reached; at += the.every)
        for (int all = 0; all < 2 && reached; all++) {
            char *own = mem_printf("%s/%llu-%d", dir, (unsigned long long)at, all);

            mkdir(own, 0777);
            if (fork_child(at, all)) {
                int status;

                the.n = 0;
                status = scene(own);
                the.on = false;
                _exit(the.n < at ? NOT_REACHED : status);
            }
            reached = reap_child(at, all);
            rmtree(AT_FDCWD, own, NULL);
            free(own);
        }
}

static void report(void)
{
    printf("%-10s %6llu points: %llu went on, %llu said so, %llu ended with %d, %llu broken\n",
           the.scene, (unsigned long long)the.points, (unsigned long long)the.went_on,
           (unsigned long long)the.said, (unsigned long long)the.gave_up, MEM_EXIT_CODE,
           (unsigned long long)the.bad);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const char *dir);
    } scenes[] = { { "names", scene_names },      { "processes", scene_processes },
                   { "codec", scene_codec },      { "json", scene_json },
                   { "spool", scene_spool },      { "listing", scene_listing },
                   { "checkout", scene_checkout } };
    char dir[] = "/tmp/volt-fault-XXXXXX";
    uint64_t points = 0, bad = 0;

    the.every = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    if (!the.every || !mkdtemp(dir))
        return 2;
    json_setup();
    make_repository(dir);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        uint64_t every = the.every;

        if (argc > 2 && strcmp(argv[2], scenes[i].name) != 0)
            continue;
        the.scene = scenes[i].name;
        the.every = i < SHORT_SCENES ? 1 : every < 11 ? every : 11;
        try_all(dir, scenes[i].run);
        the.every = every;
        report();
        points += the.points;
        bad += the.bad;
        the.points = the.went_on = the.said = the.gave_up = the.bad = 0;
    }
    if (argc <= 2 || strcmp(argv[2], "dispatcher") == 0) {
        the.scene = "dispatcher";
        the.n = 0;
        the.branches = true;
        tell_story(dir);
        if (the.child)
            return 0;
        report();
        points += the.points;
        bad += the.bad;
    }
    rmtree(AT_FDCWD, dir, NULL);
    printf("%llu points of failure, %llu of them broken\n", (unsigned long long)points,
           (unsigned long long)bad);
    return bad ? 1 : 0;
}
