#include "cmd/tail/until.h"

void until_ask(until *u, int64_t now_ms)
{
    const uint64_t before = u->build < MSG_ID_MAX ? u->build + 1 : u->build;
    const msg m = { .type = MSG_builds, .builds = { .before = before, .max = 1 } };

    u->verdict = 0;
    u->last = 0;
    if (u->build)
        question_ask(&u->question, now_ms, &m);
}

bool until_take(until *u, int64_t now_ms, const msg *m)
{
    const msg how_far = { .type = MSG_replay, .replay = { .from = MSG_ID_MAX, .max = 1 } };
    const rec_build_row *row = m->type == MSG_builds_are ? m->builds_are.rows.v : NULL;

    if ((m->type != MSG_builds_are && m->type != MSG_events) ||
        !question_answered(&u->question, m->r))
        return false;
    if (m->type == MSG_events) {
        u->last = m->events.last;
    } else if (m->builds_are.rows.n && row->build == u->build && row->verdict) {
        u->verdict = row->verdict;
        question_ask(&u->question, now_ms, &how_far);
    }
    return true;
}

verdict until_missed(const until *u, uint64_t next)
{
    return u->last && (next == 0 || next > u->last) ? u->verdict : 0;
}
