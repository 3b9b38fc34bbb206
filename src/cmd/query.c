#include "cmd/query.h"

#include <poll.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "cmd/progress.h"
#include "net/loop.h"

#define POLL_FIRST_MS  100
#define POLL_LAST_MS   1000
#define UNREACHABLE_MS 60000 /* how long a wait puts up with a dispatcher that is away */

volt_code query_id(const char *text, const char *what, uint64_t *ret, volt_err *err)
{
    int64_t id;

    if (text_number(text + (*text == '#'), 1, (int64_t)MSG_ID_MAX, &id, NULL))
        return volt_fail(err, VOLT_EINVALID, "'%s' is not the number of a %s", text, what);
    *ret = (uint64_t)id;
    return VOLT_OK;
}

volt_code query_build(client *c, uint64_t build, const rec_build_row **ret, volt_err *err)
{
    /* The page of one build that ends with it: much smaller than `build`, which has its tasks. */
    const uint64_t before = build < MSG_ID_MAX ? build + 1 : build;
    const msg question = { .type = MSG_builds, .builds = { .before = before, .max = 1 } };
    const msg *answer;
    volt_code code = client_ask(c, &question, MSG_builds_are, &answer, err);

    if (code)
        return code;
    if (answer->builds_are.rows.n == 0 || answer->builds_are.rows.v[0].build != build)
        return volt_fail(err, VOLT_ENOTFOUND, "there is no build %llu", (unsigned long long)build);
    *ret = &answer->builds_are.rows.v[0];
    return VOLT_OK;
}

volt_code query_units(client *c, uint64_t build, rec_test_row **ret, size_t *ret_n, volt_err *err)
{
    rec_test_row *v = NULL;
    size_t n = 0;
    bool more = true;

    while (more) {
        const msg question = { .type = MSG_units, .units = { .build = build, .from = n } };
        const msg *answer;
        volt_code code = client_ask(c, &question, MSG_units_are, &answer, err);

        if (code) {
            free(v);
            return code;
        }
        client_keep(c);
        if (answer->units_are.rows.n) {
            v = mem_grow(v, n + answer->units_are.rows.n, sizeof *v);
            memcpy(v + n, answer->units_are.rows.v, answer->units_are.rows.n * sizeof *v);
            n += answer->units_are.rows.n;
        }
        more = answer->units_are.more && answer->units_are.rows.n;
    }
    *ret = v;
    *ret_n = n;
    return VOLT_OK;
}

volt_code query_cases_json(client *c, uint64_t build, const rec_test_row *unit, json_t **ret,
                           volt_err *err)
{
    json_t *list = json_array();
    bool more = true;

    while (more) {
        const msg question = { .type = MSG_cases,
                               .cases = { .build = build,
                                          .job = unit->job,
                                          .i = unit->i,
                                          .from = json_array_size(list) } };
        const msg *answer;
        json_t *page;
        volt_code code = client_ask(c, &question, MSG_cases_are, &answer, err);

        if (code) {
            json_decref(list);
            return code;
        }
        page = json_of_list(json_list_table(MSG_cases_are, "rows"), answer->cases_are.rows.v,
                            answer->cases_are.rows.n);
        json_array_extend(list, page);
        json_decref(page);
        more = answer->cases_are.more && answer->cases_are.rows.n;
    }
    *ret = list;
    return VOLT_OK;
}

volt_code query_wait(client *c, uint64_t build, const rec_build_row **ret, volt_err *err)
{
    int64_t start = loop_now_ms(), heard = start;
    progress shown = { 0 };
    int pause = POLL_FIRST_MS;
    volt_code code;

    for (;;) {
        const rec_build_row *row;

        code = query_build(c, build, &row, err);
        if (code && ((code != VOLT_EUNREACHABLE && code != VOLT_EAGAIN) ||
                     loop_now_ms() - heard > UNREACHABLE_MS))
            break;
        if (code == VOLT_OK) {
            heard = loop_now_ms();
            if (row->verdict) {
                *ret = row;
                break;
            }
            progress_show(&shown, row, 1, heard);
        }
        poll(NULL, 0, pause);
        if (loop_now_ms() - start > 50 * POLL_FIRST_MS && pause < POLL_LAST_MS)
            pause += POLL_FIRST_MS; /* a build that takes long can be told of a little later */
    }
    progress_end(&shown);
    return code;
}
