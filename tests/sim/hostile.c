/* Strangers on the wire: frames that no decoder takes, and sound ones where nobody expects them.
 * What is sent is made of what was sent before.  A frame that its receiver would rightly act upon
 * is not sent: then nothing that happens could be called wrong. */
#include <stdlib.h>

#include "base/mem.h"
#include "sim.h"

#define KEPT_N   64
#define KEPT_MAX 600 /* bytes; longer frames are not kept */
#define EVERY    7   /* so many frames are seen until one is kept */

typedef struct hostile {
    unsigned seen, n;
    size_t length[KEPT_N];
    char bytes[KEPT_N][KEPT_MAX];
} hostile;

void hostile_saw(world *w, slice frame)
{
    hostile *h = w->hostile;
    unsigned at;

    if (!w->k.hostile || w->calm || frame.n > KEPT_MAX)
        return;
    if (!h)
        h = w->hostile = NEW(hostile);
    if (h->seen++ % EVERY)
        return;
    at = h->n++ % KEPT_N;
    h->length[at] = frame.n;
    memcpy(h->bytes[at], frame.p, frame.n);
}

void hostile_free(world *w)
{
    free(w->hostile);
}

static bool is_runners_word(msg_type t)
{
    return t == MSG_hb || t == MSG_start || t == MSG_nack || t == MSG_plan || t == MSG_tests ||
           t == MSG_log || t == MSG_result || t == MSG_bye;
}

static bool is_query(msg_type t)
{
    return t == MSG_status || t == MSG_builds || t == MSG_build || t == MSG_units ||
           t == MSG_files || t == MSG_task || t == MSG_runners || t == MSG_get || t == MSG_replay ||
           t == MSG_submission;
}

/* What changes the dispatcher's state, whoever says it. */
static bool is_command(msg_type t)
{
    return t == MSG_submit || t == MSG_rebuild || t == MSG_cancel_build || t == MSG_set_mode ||
           t == MSG_hello;
}

static bool is_for_agents(msg_type t)
{
    return t == MSG_welcome || t == MSG_refuse || t == MSG_who || t == MSG_hb_ok ||
           t == MSG_assign || t == MSG_fenced || t == MSG_cancel || t == MSG_mode ||
           t == MSG_plan_ok || t == MSG_tests_ok || t == MSG_log_ok || t == MSG_result_ok;
}

static bool is_for_readers(msg_type t)
{
    return t == MSG_accepted || t == MSG_rejected || t == MSG_err || t == MSG_head ||
           t == MSG_event || t == MSG_events;
}

/* Nobody may act upon it at the end of `l`. */
static bool is_misplaced(const net_link *l, bool up, const msg *m)
{
    if (up && l->kind == LINK_INTAKE)
        return m->type != MSG_submit;
    if (up && l->runners)
        return !is_runners_word(m->type) && !is_command(m->type);
    if (up)
        return !is_command(m->type) && !is_query(m->type);
    if (l->runners)
        return !is_for_agents(m->type);
    return !is_for_readers(m->type) && m->r == 0;
}

static void spoil(world *w, char *bytes, size_t *n)
{
    switch (pick(w, 4)) {
    case 0:
        for (uint64_t i = 1 + pick(w, 8); i > 0 && *n; i--)
            bytes[pick(w, *n)] ^= (char)(1 << pick(w, 8));
        cover("fault", "frame with flipped bits");
        break;
    case 1:
        *n = (size_t)pick(w, *n + 1);
        cover("fault", "frame cut short");
        break;
    case 2:
        *n = (size_t)pick(w, 200);
        for (size_t i = 0; i < *n; i++)
            bytes[i] = (char)pick(w, 256);
        cover("fault", "frame of random bytes");
        break;
    default:
        break; /* as it is, but in the wrong place */
    }
}

void hostile_send(world *w)
{
    const hostile *h = w->hostile;
    net_link *l = net_some_link(w, chance(w, 500));
    bool up = l && (l->kind == LINK_INTAKE || (l->kind == LINK_WORK && chance(w, 600)));
    char bytes[KEPT_MAX];
    size_t n, at;
    msg m;

    if (!h || !h->n || !l)
        return;
    at = (size_t)pick(w, h->n < KEPT_N ? h->n : KEPT_N);
    n = h->length[at];
    memcpy(bytes, h->bytes[at], n);
    spoil(w, bytes, &n);
    if (wire_decode((slice){ bytes, n }, &w->scratch, &m, NULL) == VOLT_OK) {
        if (!is_misplaced(l, up, &m))
            return;
        cover("fault", "misplaced message");
        cover(up ? "misplaced, to the dispatcher" : "misplaced, to others", msg_type_text(m.type));
    } else {
        cover("fault", "malformed frame");
    }
    net_inject(l, up, (slice){ bytes, n });
}
