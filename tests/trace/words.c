#include "words.h"

#include <string.h>

words words_split(slice line)
{
    words w = { .n = 0 };

    for (size_t i = 0; i < line.n && w.n < WORDS_MAX;) {
        size_t k = i;

        while (k < line.n && line.p[k] != ' ')
            k++;
        if (k > i)
            w.v[w.n++] = (slice){ line.p + i, k - i };
        i = k + 1;
    }
    return w;
}

slice words_next(words *w)
{
    return w->at < w->n ? w->v[w->at++] : (slice){ 0 };
}

uint64_t words_number(slice s)
{
    uint64_t x = 0;

    for (size_t i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        x = x * 10 + (uint64_t)(s.p[i] - '0');
    return x;
}

slice words_option(const words *w, const char *key)
{
    size_t n = strlen(key);

    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].n > n && memcmp(w->v[i].p, key, n) == 0 && w->v[i].p[n] == '=')
            return (slice){ w->v[i].p + n + 1, w->v[i].n - n - 1 };
    return (slice){ 0 };
}

slices read_list(arena *a, slice text, char by)
{
    slices l = { ARENA_ARRAY(a, slice, text.n + 1), 0 };

    for (size_t i = 0; i < text.n;) {
        size_t k = i;

        while (k < text.n && text.p[k] != by)
            k++;
        l.v[l.n++] = (slice){ text.p + i, k - i };
        i = k + 1;
    }
    return l;
}

rec_held_list read_held(arena *a, slice text)
{
    slices l = read_list(a, text, ',');
    rec_held_list h = { ARENA_ARRAY(a, rec_held, l.n + 1), l.n };

    if (slice_is(text, "-"))
        h.n = 0;
    for (size_t i = 0; i < h.n; i++) {
        slices part = read_list(a, l.v[i], ':');

        h.v[i].task = words_number(part.v[0]);
        h.v[i].att = part.n > 1 ? words_number(part.v[1]) : 1;
        h.v[i].state =
            part.n > 2 ? (held_state)word_value(&words_held_state, part.v[2]) : HELD_RUNNING;
    }
    return h;
}

rec_item_list read_items(arena *a, slice text)
{
    slices l = read_list(a, text, ',');
    rec_item_list r = { ARENA_ARRAY(a, rec_item, l.n + 1), l.n };

    for (size_t i = 0; i < l.n; i++)
        r.v[i].verdict = (verdict)word_value(&words_verdict, l.v[i]);
    return r;
}

slice read_digits(arena *a, slice digit, size_t n)
{
    char *p = arena_zero(a, n + 1);

    memset(p, digit.n ? digit.p[0] : '0', n);
    return (slice){ p, n };
}
