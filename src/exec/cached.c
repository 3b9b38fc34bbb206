/* What a job keeps between builds, brought into its workspace and out of it: by `volt cache`, in a
 * unit before the job's first and one after its last.  Nothing here fails an attempt. */
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/attempt_parts.h"
#include "exec/cache.h"

/* Then it is as if there had been none, or nothing to keep. */
#define RESTORE_MS (5 * 60 * 1000)
#define SAVE_MS    (10 * 60 * 1000)

/* False: the job keeps nothing, or it cannot be said under which key. */
static bool name_cache(attempt *a)
{
    cache_key key;
    objects *store;
    volt_err err;
    volt_code rc;

    if (!a->spec.cache_paths.n)
        return false;
    if (!site_settings(a->site)->cache_bytes) {
        batch_say(a, "volt: cache: none, for this runner keeps no caches (--cache-bytes)");
        return false;
    }
    rc = site_objects(a->site, a->store, &store, &err);
    if (!rc)
        rc = cache_key_of(store, &a->commit, a->order.job, a->spec.cache_key, a->spec.cache_paths,
                          &key, &err);
    if (rc) {
        batch_say(a, "volt: cache: none: %s", err.msg);
        return false;
    }
    if (key.files == 0)
        batch_say(a,
                  "volt: cache: no file of the commit is named by 'key'; the same cache for all of "
                  "them");
    a->cache_file = site_cache(a->site, a->order.repo, key.hex);
    return true;
}

static bool is_there(const attempt *a)
{
    return access(a->cache_file, F_OK) == 0;
}

/* What it restored into a home that was scratch went with the batch. */
static bool is_needed_again(const attempt *a)
{
    if (site_has_setup(a->site))
        return false;
    for (size_t i = 0; i < a->spec.cache_paths.n; i++)
        if (!a->kept_home && slice_starts(a->spec.cache_paths.v[i], SLICE("~/")))
            return true;
    return false;
}

bool cache_in(attempt *a, int64_t now_ms)
{
    if (!name_cache(a) || !(a->fresh || is_needed_again(a)))
        return false;
    if (!is_there(a)) {
        batch_say(a, "volt: cache: miss");
        return false;
    }
    batch_run_own(a, STAGE_CACHE_IN, "cache",
                  (const char *[]){ "volt", "cache", "--home", attempt_home(a), "--", "restore",
                                    a->cache_file, a->dir, NULL },
                  RESTORE_MS, now_ms);
    return true;
}

bool cache_out(attempt *a, int64_t now_ms)
{
    CLEANUP(free)
    const char **args = NULL;
    CLEANUP(free)
    char *max = mem_printf("%llu", (unsigned long long)site_settings(a->site)->cache_bytes);
    size_t n = 0;

    if (!a->cache_file || is_there(a) || a->worst != VERDICT_PASSED || a->broken || a->canceled)
        return false;
    args = NEW_ARRAY(const char *, 13 + a->spec.cache_paths.n);
    for (const char *const *p =
             (const char *const[]){ "volt", "cache", "--home", attempt_home(a), "--root",
                                    site_caches(a->site), "--max-bytes", max, "--", "save",
                                    a->cache_file, a->dir, NULL };
         *p; p++)
        args[n++] = *p;
    for (size_t i = 0; i < a->spec.cache_paths.n; i++)
        args[n++] = arena_str(&a->unit_mem, a->spec.cache_paths.v[i]);
    batch_run_own(a, STAGE_CACHE_OUT, "cache", args, SAVE_MS, now_ms);
    return true;
}

/* Nothing of a cache that came in part may stay. */
static volt_code start_anew(attempt *a, volt_err *err)
{
    volt_code rc = batch_make_workspace(a, err);

    if (!rc)
        rc = scratch_clear(a->site, err);
    return rc ? rc : scratch_make(a->site, &a->scratch, err);
}

bool cached_in(attempt *a)
{
    const unit_outcome *o = unit_result(a->unit);
    bool whole = o->end == UNIT_EXITED && o->exit == 0 && o->signal == 0;
    volt_err err;

    batch_count(a, o);
    unit_free(TAKE(a->unit));
    arena_reset(&a->unit_mem);
    if (a->canceled)
        a->worst = VERDICT_CANCELED;
    else if (!whole && start_anew(a, &err))
        batch_give_up(a, err.msg);
    return !a->canceled && !a->broken;
}
