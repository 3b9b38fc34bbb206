#include "cmd/tail/until.h"

void until_free(until *u)
{
    arena_free(&u->mem);
}

void until_ask(until *u, int64_t now_ms)
{
    const uint64_t before = u->build < MSG_ID_MAX ? u->build + 1 : u->build;
    const msg m = { .type = MSG_builds, .builds = { .before = before, .max = 1 } };

    u->end = (msg_event){ .kind = EVENT_BUILD_DONE };
    arena_reset(&u->mem);
    if (u->build)
        question_ask(&u->question, now_ms, &m);
}

static void note_end(until *u, const rec_build_row *row)
{
    u->end.build = row->build;
    u->end.repo = arena_slice(&u->mem, row->repo);
    u->end.ref = arena_slice(&u->mem, row->ref);
    u->end.oid = arena_slice(&u->mem, row->oid);
    u->end.gen = row->gen;
    u->end.verdict = row->verdict;
    u->end.time_ms = row->finished_ms;
    u->end.subject = arena_slice(&u->mem, row->subject);
    u->end.author = arena_slice(&u->mem, row->author);
    u->end.why = arena_slice(&u->mem, row->why);
}

bool until_take(until *u, int64_t now_ms, const msg *m)
{
    const msg how_far = { .type = MSG_replay, .replay = { .from = MSG_ID_MAX, .max = 1 } };
    const rec_build_row *row = m->type == MSG_builds_are ? m->builds_are.rows.v : NULL;

    if ((m->type != MSG_builds_are && m->type != MSG_events) ||
        !question_answered(&u->question, m->r))
        return false;
    if (m->type == MSG_events) {
        u->end.hist = arena_slice(&u->mem, m->events.hist);
        u->end.seq = m->events.last;
    } else if (m->builds_are.rows.n && row->build == u->build && row->verdict) {
        note_end(u, row);
        question_ask(&u->question, now_ms, &how_far);
    }
    return true;
}

const msg_event *until_missed(const until *u, uint64_t next)
{
    return u->end.seq && (next == 0 || next > u->end.seq) ? &u->end : NULL;
}
