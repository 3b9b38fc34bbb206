#include "core/env.h"

static size_t equals_at(slice variable)
{
    const char *at = variable.n ? memchr(variable.p, '=', variable.n) : NULL;

    return at ? (size_t)(at - variable.p) : variable.n;
}

slice env_name(slice variable)
{
    return (slice){ variable.p, equals_at(variable) };
}

slice env_value(slice variable)
{
    size_t at = equals_at(variable);

    return at < variable.n ? (slice){ variable.p + at + 1, variable.n - at - 1 } : (slice){ 0 };
}

static bool is_name(slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return s.n > 0;
}

/* Tasks must be able to believe what these say. */
static bool is_volts(slice name)
{
    return slice_starts(name, SLICE("VOLT")) || slice_is(name, "CI");
}

static const char *check_one(slices env, size_t i, arena *a)
{
    slice v = env.v[i], name = env_name(v);

    if (equals_at(v) == v.n)
        return arena_printf(a, "'" SLICE_FMT "' is no NAME=VALUE", SLICE_ARG(v));
    if (!is_name(name))
        return arena_printf(a, "'" SLICE_FMT "' is no variable's name (letters, digits and '_')",
                            SLICE_ARG(name));
    if (is_volts(name))
        return arena_printf(a, "variable '" SLICE_FMT "' is Volt's own", SLICE_ARG(name));
    if (memchr(v.p, '\0', v.n))
        return arena_printf(a, "the value of '" SLICE_FMT "' holds a NUL byte", SLICE_ARG(name));
    for (size_t k = 0; k < i; k++)
        if (slice_eq(env_name(env.v[k]), name))
            return arena_printf(a, "variable '" SLICE_FMT "' is given twice", SLICE_ARG(name));
    return NULL;
}

const char *env_check(slices env, arena *a)
{
    const char *wrong = NULL;
    size_t bytes = 0;

    if (env.n > ENV_VARIABLES_MAX)
        return arena_printf(a, "%zu variables; at most %d", env.n, ENV_VARIABLES_MAX);
    for (size_t i = 0; i < env.n && !wrong; i++) {
        bytes += env.v[i].n;
        wrong = check_one(env, i, a);
    }
    if (!wrong && bytes > ENV_BYTES_MAX)
        wrong = arena_printf(a, "the variables take %zu bytes; at most %d", bytes, ENV_BYTES_MAX);
    return wrong;
}
