/*
 * bench_floor - what the machine does without Volt.
 *
 *   bench_floor spawn THREADS N    posix_spawn and wait of /bin/true: processes a second
 *   bench_floor sqlite N DIR       commits a second of one small row (WAL, synchronous=FULL)
 *   bench_floor fsync N DIR        write 4 KiB behind each other and fdatasync: p50 in ms
 *   bench_floor read FILE TABLE... reads every column of every row of an SQLite file: rows, s
 *   bench_floor echo               a bare ROUTER that sends all back, until SIGINT; says its
 * endpoint
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <zmq.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "bench.h"

#define THREADS_MAX 64

static void *spawn_loop(void *arg)
{
    long n = *(const long *)arg;

    for (long i = 0; i < n; i++) {
        char *const argv[] = { (char[]){ "true" }, NULL };
        char *const env[] = { NULL };
        int status;
        pid_t pid;

        if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env) ||
            waitpid(pid, &status, 0) != pid || status)
            bench_die("cannot run /bin/true");
    }
    return NULL;
}

static void spawn(long threads, long n)
{
    pthread_t t[THREADS_MAX];
    long each = n / threads;
    double began = bench_now_s();

    for (long i = 0; i < threads; i++)
        if (pthread_create(&t[i], NULL, spawn_loop, &each))
            bench_die("cannot start a thread");
    for (long i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    printf("rate %.0f\n", (double)(each * threads) / (bench_now_s() - began));
}

static void check(sqlite3 *db, int rc)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
        bench_die("sqlite: %s", sqlite3_errmsg(db));
}

static void sqlite(long n, const char *dir)
{
    CLEANUP(free)
    char *path = mem_printf("%s/floor.db", dir);
    CLEANUP(free)
    char *wal = mem_printf("%s-wal", path);
    sqlite3_stmt *put;
    sqlite3 *db;
    double began;

    check(NULL, sqlite3_open(path, &db));
    check(db, sqlite3_exec(db,
                           "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                           "PRAGMA synchronous=FULL; CREATE TABLE t (i INTEGER PRIMARY KEY, x)",
                           NULL, NULL, NULL));
    check(db, sqlite3_prepare_v2(db, "INSERT INTO t VALUES (?, 'one small row')", -1, &put, NULL));
    began = bench_now_s();
    for (long i = 0; i < n; i++) {
        sqlite3_bind_int64(put, 1, i);
        check(db, sqlite3_step(put));
        sqlite3_reset(put);
    }
    printf("rate %.0f\n", (double)n / (bench_now_s() - began));
    sqlite3_finalize(put);
    sqlite3_close(db);
    unlink(path);
    unlink(wal);
}

static void sync_file(long n, const char *dir)
{
    CLEANUP(free)
    char *path = mem_printf("%s/floor.sync", dir);
    CLEANUP(free)
    double *ms = mem_array((size_t)n, sizeof *ms);
    static char page[4096];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    for (long i = 0; i < n; i++) {
        int64_t began = bench_now_ns();

        if (write(fd, page, sizeof page) != sizeof page || fdatasync(fd))
            bench_die("cannot write '%s'", path);
        ms[i] = (double)(bench_now_ns() - began) / 1e6;
    }
    printf("p50_ms %.3f\np99_ms %.3f\n", bench_part(ms, (size_t)n, 0.5),
           bench_part(ms, (size_t)n, 0.99));
    close(fd);
    unlink(path);
}

static void read_file(const char *path, char **tables)
{
    double began = bench_now_s();
    long rows = 0;
    sqlite3 *db;

    check(NULL, sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL));
    for (; *tables; tables++) {
        CLEANUP(free)
        char *sql = mem_printf("SELECT * FROM \"%s\"", *tables);
        sqlite3_stmt *st;

        check(db, sqlite3_prepare_v2(db, sql, -1, &st, NULL));
        for (; sqlite3_step(st) == SQLITE_ROW; rows++)
            for (int i = 0; i < sqlite3_column_count(st); i++)
                (void)sqlite3_column_blob(st, i);
        check(db, sqlite3_finalize(st));
    }
    printf("rows %ld\ns %.3f\n", rows, bench_now_s() - began);
    sqlite3_close(db);
}

static void echo(void)
{
    char at[64];
    size_t n = sizeof at;
    void *ctx = zmq_ctx_new(), *router = zmq_socket(ctx, ZMQ_ROUTER);
    int backlog = 4096;
    zmq_msg_t part;

    sock_more_fds();
    zmq_setsockopt(router, ZMQ_BACKLOG, &backlog, sizeof backlog);
    if (zmq_bind(router, "tcp://127.0.0.1:*") < 0 ||
        zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, at, &n) < 0)
        bench_die("bind: %s", zmq_strerror(errno));
    puts(at);
    fflush(stdout);
    zmq_msg_init(&part);
    while (zmq_msg_recv(&part, router, 0) >= 0)
        if (zmq_msg_send(&part, router, zmq_msg_more(&part) ? ZMQ_SNDMORE : 0) < 0)
            break;
}

int main(int argc, char **argv)
{
    const char *what = argc == 4 ? argv[1] : "";

    if (strcmp(what, "spawn") == 0 && bench_number(argv[2], 1) <= THREADS_MAX)
        spawn(bench_number(argv[2], 1), bench_number(argv[3], 1));
    else if (strcmp(what, "sqlite") == 0)
        sqlite(bench_number(argv[2], 1), argv[3]);
    else if (strcmp(what, "fsync") == 0)
        sync_file(bench_number(argv[2], 1), argv[3]);
    else if (argc > 3 && strcmp(argv[1], "read") == 0)
        read_file(argv[2], argv + 3);
    else if (argc == 2 && strcmp(argv[1], "echo") == 0)
        echo();
    else
        bench_die("usage: bench_floor spawn THREADS N | sqlite N DIR | fsync N DIR | read FILE "
                  "TABLE... | echo");
    return 0;
}
