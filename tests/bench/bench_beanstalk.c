/*
 * bench_beanstalk - jobs a second of a beanstalkd, the peer with a durable queue.
 *
 *   bench_beanstalk PORT CONNECTIONS JOBS [spawn]
 *
 * Each connection puts a job, reserves one and deletes it, JOBS in all; with `spawn` it runs
 * /bin/true for the job in between.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define CONNECTIONS_MAX 1000

static const char job[] = "0123456789abcdef0123456789abcdef01234567 refs/heads/main"; /* a commit */

typedef struct client {
    pthread_t thread;
    int port;
    long jobs;
    bool spawn;
} client;

/* Sends, and waits for an answer that begins with `want` and ends in a newline after `lines`
 * lines. */
static void ask(int fd, const char *text, const char *want, int lines, char ret[static 256])
{
    size_t n = 0;

    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        bench_die("beanstalkd is gone");
    for (int seen = 0; seen < lines;) {
        ssize_t got = recv(fd, ret + n, 255 - n, 0);

        if (got <= 0)
            bench_die("beanstalkd is gone");
        for (ssize_t i = 0; i < got; i++)
            seen += ret[n + (size_t)i] == '\n';
        n += (size_t)got;
    }
    ret[n] = '\0';
    if (strncmp(ret, want, strlen(want)) != 0)
        bench_die("beanstalkd answers '%s'", ret);
}

static void run_true(void)
{
    char *const argv[] = { (char[]){ "true" }, NULL };
    char *const env[] = { NULL };
    pid_t pid;

    if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env) || waitpid(pid, NULL, 0) != pid)
        bench_die("cannot run /bin/true");
}

static void *serve(void *arg)
{
    const client *c = arg;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)c->port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    char put[256], answer[256], text[64];
    unsigned long long id;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at))
        bench_die("cannot reach beanstalkd at port %d", c->port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    snprintf(put, sizeof put, "put 0 0 60 %zu\r\n%s\r\n", sizeof job - 1, job);
    for (long i = 0; i < c->jobs; i++) {
        ask(fd, put, "INSERTED", 1, answer);
        ask(fd, "reserve\r\n", "RESERVED", 2, answer);
        if (sscanf(answer, "RESERVED %llu", &id) != 1)
            bench_die("beanstalkd answers '%s'", answer);
        if (c->spawn)
            run_true();
        snprintf(text, sizeof text, "delete %llu\r\n", id);
        ask(fd, text, "DELETED", 1, answer);
    }
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    static client clients[CONNECTIONS_MAX];
    long connections, jobs;
    double began;

    if (argc < 4)
        bench_die("usage: bench_beanstalk PORT CONNECTIONS JOBS [spawn]");
    connections = bench_number(argv[2], 1);
    jobs = bench_number(argv[3], connections) / connections;
    if (connections > CONNECTIONS_MAX)
        bench_die("at most %d connections", CONNECTIONS_MAX);
    began = bench_now_s();
    for (long i = 0; i < connections; i++) {
        clients[i] =
            (client){ .port = (int)bench_number(argv[1], 1), .jobs = jobs, .spawn = argc > 4 };
        if (pthread_create(&clients[i].thread, NULL, serve, &clients[i]))
            bench_die("cannot start a thread");
    }
    for (long i = 0; i < connections; i++)
        pthread_join(clients[i].thread, NULL);
    printf("rate %.0f\n", (double)(jobs * connections) / (bench_now_s() - began));
    return 0;
}
