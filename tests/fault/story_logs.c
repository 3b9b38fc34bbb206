#include "story_parts.h"

#include <string.h>

#include "base/prng.h"
#include "disk.h"

log_file *story_log_of(story *s, uint64_t task, uint64_t att)
{
    for (size_t i = 0; i < s->logs_n; i++)
        if (s->logs[i].task == task && s->logs[i].att == att)
            return &s->logs[i];
    return NULL;
}

char story_log_byte(uint64_t task, uint64_t i)
{
    return (char)('!' + (task * 31 + i * 7 + i / 93) % 90);
}

static volt_code log_write(void *ctx, const log_name *name, uint64_t off, slice bytes,
                           volt_err *err)
{
    story *s = ctx;
    uint64_t task = name->task, att = name->att;
    log_file *f = story_log_of(s, task, att);

    (void)err;
    if (!f) {
        NEED(s->logs_n < LOGS_MAX, "more logs than the story has");
        f = &s->logs[s->logs_n++];
        *f = (log_file){ .task = task, .att = att };
    }
    NEED(off <= f->bytes.n, "S8: the log of task %llu gets a hole", ull(task));
    if (off + bytes.n > f->bytes.n) {
        disk_quiet++;
        buf_room(&f->bytes, off + bytes.n - f->bytes.n);
        disk_quiet--;
        f->bytes.n = off + bytes.n;
    }
    memcpy(f->bytes.p + off, bytes.p, bytes.n);
    f->synced = f->synced < off ? f->synced : off;
    return VOLT_OK;
}

static volt_code log_sync(void *ctx, const log_name *name, uint64_t bytes, volt_err *err)
{
    story *s = ctx;
    log_file *f = story_log_of(s, name->task, name->att);

    (void)err;
    NEED(f && f->bytes.n >= bytes, "S8: the log of task %llu is shorter than told",
         ull(name->task));
    f->bytes.n = f->synced = bytes;
    return VOLT_OK;
}

static volt_code log_read(void *ctx, const log_name *name, uint64_t off, size_t max, buf *ret,
                          volt_err *err)
{
    (void)ctx, (void)name, (void)off, (void)max, (void)ret, (void)err;
    return VOLT_OK;
}

static void log_remove(void *ctx, const log_name *name)
{
    log_file *f = name->part == PART_LOG ? story_log_of(ctx, name->task, name->att) : NULL;

    if (f)
        f->bytes.n = f->synced = 0;
}

static uint64_t log_bytes(void *ctx)
{
    const story *s = ctx;
    uint64_t n = 0;

    for (size_t i = 0; i < s->logs_n; i++)
        n += s->logs[i].bytes.n;
    return n;
}

void story_power_back(story *s, uint64_t seed)
{
    prng rng = { seed };

    for (size_t i = 0; i < s->logs_n; i++) {
        log_file *f = &s->logs[i];

        f->bytes.n = f->synced + prng_below(&rng, f->bytes.n - f->synced + 1);
    }
}

log_files story_log_files(story *s)
{
    return (log_files){ s, log_write, log_sync, log_read, log_remove, log_bytes };
}
