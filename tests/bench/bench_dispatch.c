/*
 * bench_dispatch - a fleet of no-op runners against a running dispatcher.
 *
 * Usage: bench_dispatch SERVER RUNNERS UNITS [BATCH]
 * Registers RUNNERS runners of one slot, submits one build whose plan has UNITS units in batches of
 * BATCH (1), answers every assign at once with start and result, and prints how many units a second
 * went from assigned to acknowledged.  Every one of these transitions is durable at the dispatcher.
 */
#include <inttypes.h>
#include <stdio.h>
#include <zmq.h>

#include "bench.h"

#define RUNNERS_MAX 1000
#define PART_UNITS  4000
#define BATCH_MAX   1000

typedef struct fleet {
    sock *v[RUNNERS_MAX];
    int n;
    uint64_t units, batch, done; /* done: tasks, the plan too */
    double began, ended;
    double hb_at;
    uint64_t hb_n;
    arena arena;
} fleet;

static void send_plan(fleet *f, sock *s, const msg_assign *a)
{
    static char names[PART_UNITS][32];
    static slice files[PART_UNITS];
    uint64_t sent = 0, part = 0;
    msg result = { .type = MSG_result,
                   .result = { .task = a->task, .att = a->att, .verdict = VERDICT_PASSED } };

    while (sent < f->units) {
        rec_job job = { .name = SLICE("tests"), .tests = true, .batch = f->batch };
        msg m = { .type = MSG_plan, .plan = { .task = a->task, .att = a->att, .part = part++ } };
        size_t n = 0;

        for (; n < PART_UNITS && sent < f->units; n++, sent++) {
            snprintf(names[n], sizeof names[n], "tests/u%06" PRIu64, sent);
            files[n] = slice_of(names[n]);
        }
        job.files = (slices){ files, n };
        m.plan.jobs = (rec_job_list){ &job, 1 };
        m.plan.last = sent == f->units;
        bench_send(s, &m);
    }
    f->began = bench_now_s();
    bench_send(s, &result);
}

static void run_batch(sock *s, const msg_assign *a)
{
    static rec_item items[BATCH_MAX];
    msg start = { .type = MSG_start, .start = { .task = a->task, .att = a->att } };
    msg result = { .type = MSG_result,
                   .result = { .task = a->task,
                               .att = a->att,
                               .verdict = VERDICT_PASSED,
                               .from = a->from,
                               .items = { items, a->files.n } } };

    for (size_t i = 0; i < a->files.n; i++)
        items[i] = (rec_item){ .verdict = VERDICT_PASSED, .duration_ms = 1 };
    bench_send(s, &start);
    bench_send(s, &result);
}

/* Nothing is held between two turns of the loop, so nothing is listed. */
static void beat(fleet *f)
{
    msg hb = { .type = MSG_hb, .hb = { .n = ++f->hb_n, .free = 1 } };

    for (int i = 0; i < f->n; i++)
        bench_send(f->v[i], &hb);
    f->hb_at = bench_now_s() + 1;
}

static void take(fleet *f, sock *s)
{
    slice frame;
    msg m;

    while (sock_recv(s, NULL, NULL, &frame, NULL) == VOLT_OK) {
        arena_reset(&f->arena);
        if (wire_decode(frame, &f->arena, &m, NULL) != VOLT_OK)
            bench_die("malformed answer");
        if (m.type == MSG_assign && m.assign.kind == TASK_PLAN)
            send_plan(f, s, &m.assign);
        else if (m.type == MSG_assign)
            run_batch(s, &m.assign);
        else if (m.type == MSG_result_ok && ++f->done == (f->units + f->batch - 1) / f->batch + 1)
            f->ended = bench_now_s();
    }
}

static void connect_runner(fleet *f, const char *server, prng *rng)
{
    char id[33], boot[33], name[32];
    msg hello = { .type = MSG_hello,
                  .hello = { .vmin = 1, .vmax = 1, .slots = 1, .mode = MODE_RUN } };
    sock *s;

    prng_hex32(rng, id);
    prng_hex32(rng, boot);
    snprintf(name, sizeof name, "noop-%d", f->n + 1);
    hello.hello.id = slice_of(id);
    hello.hello.boot = slice_of(boot);
    hello.hello.name = slice_of(name);
    s = bench_connect(SOCK_DEALER, server);
    bench_send(s, &hello);
    f->v[f->n++] = s;
}

static void submit(fleet *f, prng *rng)
{
    char sid[33], oid[41];
    msg m = { .type = MSG_submit,
              .submit = { .repo = SLICE("noop"),
                          .url = SLICE("https://noop.invalid/noop.git"),
                          .ref = SLICE("refs/heads/main") } };

    prng_hex32(rng, sid);
    snprintf(oid, sizeof oid, "%s01234567", sid);
    m.submit.sid = slice_of(sid);
    m.submit.oid = slice_of(oid);
    bench_send(f->v[0], &m);
}

int main(int argc, char **argv)
{
    static fleet f;
    static zmq_pollitem_t items[RUNNERS_MAX];
    prng rng = { (uint64_t)bench_now_ns() };
    long runners;
    double give_up;

    if (argc != 4 && argc != 5)
        bench_die("usage: bench_dispatch SERVER RUNNERS UNITS [BATCH]");
    runners = bench_number(argv[2], 1);
    f.units = (uint64_t)bench_number(argv[3], 1);
    f.batch = argc > 4 ? (uint64_t)bench_number(argv[4], 1) : 1;
    if (runners > RUNNERS_MAX || f.batch > BATCH_MAX)
        bench_die("at most %d runners, and %d units a batch", RUNNERS_MAX, BATCH_MAX);
    sock_setup();
    for (long i = 0; i < runners; i++)
        connect_runner(&f, argv[1], &rng);
    bench_sleep_ms(500); /* all are registered */
    submit(&f, &rng);
    for (int i = 0; i < f.n; i++)
        items[i] = (zmq_pollitem_t){ .socket = sock_raw(f.v[i]), .events = ZMQ_POLLIN };
    give_up = bench_now_s() + 120;
    while (f.ended == 0.0) {
        if (bench_now_s() > f.hb_at)
            beat(&f);
        if (bench_now_s() > give_up)
            bench_die("not finished after 120 s");
        if (zmq_poll(items, f.n, 500) < 0)
            bench_die("poll failed");
        for (int i = 0; i < f.n; i++)
            if (items[i].revents)
                take(&f, f.v[i]);
    }
    printf("%.0f\n", (double)f.units / (f.ended - f.began));
    for (int i = 0; i < f.n; i++) {
        bench_send(f.v[i], &(msg){ .type = MSG_bye });
        sock_free_linger(f.v[i], 1000);
    }
    arena_free(&f.arena);
    return 0;
}
