/* What an order asks for and not every runner has: secrets, and a sandbox. */
#include "exec/attempt_parts.h"

static bool is_closed(const attempt *a)
{
    sandbox_kind kind = a->spec.sandbox ? a->spec.sandbox : site_settings(a->site)->sandbox;

    return kind == SANDBOX_KIND_BWRAP;
}

static volt_code check_secrets(attempt *a, volt_err *err)
{
    const site_config *config = site_settings(a->site);
    const msg_assign *order = &a->order;
    slice first = a->spec.secrets.v[0], ref = order->ref;
    const slice heads = SLICE("refs/heads/");

    if (!config->secrets)
        return volt_fail(err, VOLT_ENOTFOUND,
                         "this runner has no secrets, and '" SLICE_FMT
                         "' is wanted: start it with --secrets PATH",
                         SLICE_ARG(first));
    if (secrets_allowed(config->secrets_for, config->secrets_for_n, order->repo, ref,
                        order->default_branch))
        return secrets_read(config->secrets, a->spec.secrets, &a->mem, &a->secrets, err);
    if (slice_starts(ref, heads))
        ref = (slice){ ref.p + heads.n, ref.n - heads.n };
    return volt_fail(err, VOLT_EREFUSED,
                     "secret '" SLICE_FMT "' is not for " SLICE_FMT " of " SLICE_FMT
                     " at this runner: %s; --secrets-for '" SLICE_FMT ":" SLICE_FMT
                     "' would allow it",
                     SLICE_ARG(first), SLICE_ARG(ref), SLICE_ARG(order->repo),
                     config->secrets_for_n ? "its --secrets-for do not name it"
                                           : "only the default branch gets secrets",
                     SLICE_ARG(order->repo), SLICE_ARG(ref));
}

static volt_code check_sandbox(attempt *a, volt_err *err)
{
    volt_err why;
    volt_code rc = site_bwrap(a->site, &a->bwrap, &why);

    return rc ? volt_fail(err, rc, "this runner cannot do '%s': %s",
                          is_closed(a) ? "sandbox: bwrap" : "network: false", why.msg)
              : VOLT_OK;
}

volt_code means_check(attempt *a, volt_err *err)
{
    volt_code rc = VOLT_OK;

    if (is_closed(a) || a->spec.network_off)
        rc = check_sandbox(a, err);
    if (!rc && a->spec.secrets.n)
        rc = check_secrets(a, err);
    return rc;
}

volt_code means_begin(attempt *a, volt_err *err)
{
    size_t n = a->spec.secrets.n;
    objects *store;
    volt_code rc = VOLT_OK;

    if (is_closed(a))
        rc = site_objects(a->site, a->store, &store, err);
    if (!rc && is_closed(a))
        a->objects = arena_str(&a->mem, slice_of(objects_dir(store)));
    if (rc || n == 0)
        return rc;
    a->mask = mask_new();
    for (size_t i = 0; i < n; i++)
        mask_add_secret(a->mask, a->secrets[i].value);
    output_mask(a->out, a->mask);
    return secrets_put(site_secrets(a->site), a->secrets, n, err);
}

void means_confine(const attempt *a, process_command *run, arena *mem)
{
    const site_config *config = site_settings(a->site);
    const sandbox s = { .bwrap = a->bwrap,
                        .closed = is_closed(a),
                        .network_off = a->spec.network_off,
                        .work = config->work,
                        .workspace = a->dir,
                        .home = attempt_home(a),
                        .tmp = a->scratch.tmp,
                        .output = a->scratch.output,
                        .objects = a->objects,
                        .secrets = a->spec.secrets.n ? site_secrets(a->site) : NULL,
                        .hidden = config->secrets };

    if (!run->path || !a->bwrap)
        return;
    run->argv = sandbox_wrap(&s, run->path, run->argv, mem);
    run->path = s.bwrap;
}

void means_end(const attempt *a)
{
    if (a->spec.secrets.n)
        secrets_remove(site_secrets(a->site));
}
