/*
 * fuzz_mask.c - whatever texts are hidden, and however a stream is cut, what comes out is what
 * looking for them everywhere makes of it; and the forms of any value can be made.
 *
 * Input: how many texts; each one's length and bytes; then pieces of the stream, likewise.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "exec/mask.h"

#define TEXTS_MAX 4

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* The next piece: a byte that says its length, less than `bound`, and as much of it as there is. */
static slice take(slice *rest, size_t least, size_t bound)
{
    slice ret = { 0 };

    if (rest->n == 0)
        return ret;
    ret = (slice){ rest->p + 1, least + (unsigned char)rest->p[0] % bound };
    if (ret.n > rest->n - 1)
        ret.n = rest->n - 1;
    *rest = (slice){ ret.p + ret.n, rest->n - 1 - ret.n };
    return ret;
}

static void mask_by_looking(const slice *texts, size_t texts_n, slice in, buf *out)
{
    bool *hidden = NEW_ARRAY(bool, in.n + 1);

    for (size_t i = 0; i < in.n; i++)
        for (size_t k = 0; k < texts_n; k++)
            if (texts[k].n >= MASK_TEXT_MIN &&
                slice_starts((slice){ in.p + i, in.n - i }, texts[k]))
                memset(hidden + i, true, texts[k].n);
    for (size_t i = 0; i < in.n; i++)
        if (!hidden[i])
            buf_addc(out, in.p[i]);
        else if (i == 0 || !hidden[i - 1])
            buf_adds(out, MASK_SHOWN);
    free(hidden);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    slice rest = { (const char *)bytes, n }, texts[TEXTS_MAX];
    size_t texts_n = n ? 1 + bytes[0] % TEXTS_MAX : 0;
    mask *m = mask_new(), *forms = mask_new();
    buf in = { 0 }, got = { 0 }, want = { 0 }, any = { 0 };

    take(&rest, 0, 1);
    for (size_t i = 0; i < texts_n; i++) {
        texts[i] = take(&rest, MASK_TEXT_MIN, 16);
        mask_add(m, texts[i]);
        mask_add_secret(forms, texts[i]);
    }
    while (rest.n) {
        slice piece = take(&rest, 1, 32);

        buf_add_slice(&in, piece);
        mask_feed(m, piece, &got);
        mask_feed(forms, piece, &any);
    }
    mask_end(m, &got);
    mask_end(forms, &any);
    mask_by_looking(texts, texts_n, buf_slice(&in), &want);
    require(slice_eq(buf_slice(&got), buf_slice(&want)), "what is hidden is what looking finds");
    require(any.n <= in.n, "no form is shorter than what is shown for it");
    mask_free(m);
    mask_free(forms);
    buf_free(&in);
    buf_free(&got);
    buf_free(&want);
    buf_free(&any);
    return 0;
}
