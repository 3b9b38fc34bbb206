/* The forms in which a secret's value is looked for. */
#include <ctype.h>
#include <sodium.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "exec/mask.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Line by line: a key that is printed with something before each line.  Without the space around,
 * which alone would hide every indentation. */
static void add_lines(mask *m, slice value)
{
    size_t at = 0;

    while (at < value.n) {
        const char *end = memchr(value.p + at, '\n', value.n - at);
        slice line = { value.p + at, end ? (size_t)(end - value.p) - at : value.n - at };

        at += line.n + 1;
        for (; line.n && isspace((unsigned char)line.p[0]); line.n--)
            line.p++;
        while (line.n && isspace((unsigned char)line.p[line.n - 1]))
            line.n--;
        mask_add(m, line);
    }
}

/* Wrapped base64, as base64(1) and openssl(1) write it.  (Within other bytes the wraps fall
 * anywhere; those are not looked for.) */
static void add_wrapped(mask *m, slice text)
{
    static const size_t columns[] = { 64, 76 };

    for (size_t i = 0; i < COUNT(columns); i++)
        for (size_t at = 0; text.n > columns[i] && at < text.n; at += columns[i])
            mask_add(m,
                     (slice){ text.p + at, text.n - at < columns[i] ? text.n - at : columns[i] });
}

/* With 0, 1 and 2 bytes before it: each digit has 6 bits, so these are all the ways in which it can
 * stand in a longer text.  Digits that have bits of what is around stay away. */
static void add_base64(mask *m, slice value, int variant)
{
    size_t room = sodium_base64_ENCODED_LEN(value.n + 2, sodium_base64_VARIANT_ORIGINAL);
    CLEANUP(free)
    unsigned char *bytes = mem_zero(value.n + 2);
    CLEANUP(free)
    char *text = mem_zero(room);

    memcpy(bytes + 2, value.p, value.n);
    for (size_t before = 0; before <= 2; before++) {
        size_t skip = before ? before + 1 : 0, whole = (before + value.n) * 8 / 6;

        sodium_bin2base64(text, room, bytes + 2 - before, before + value.n, variant);
        mask_add(m, (slice){ text + skip, whole - skip });
        if (!before)
            add_wrapped(m, (slice){ text, whole });
    }
}

/* A way of writing a text into a URL (RFC 3986, section 2). */
typedef struct url_form {
    const char *kept; /* bytes that stand for themselves, besides those that always do */
    const char *space;
    bool lower;
} url_form;

static void add_url(mask *m, slice value, const url_form *form)
{
    CLEANUP(buf)
    buf b = { 0 };

    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if (c < 0x80 && c && (isalnum(c) || strchr("-._~", c) || strchr(form->kept, c)))
            buf_addc(&b, (char)c);
        else if (c == ' ')
            buf_adds(&b, form->space);
        else
            buf_addf(&b, form->lower ? "%%%02x" : "%%%02X", c);
    }
    mask_add(m, buf_slice(&b));
}

void mask_add_secret(mask *m, slice value)
{
    static const url_form forms[] = {
        { "", "%20", false },
        { "", "%20", true },
        { "", "+", false },       /* of a form */
        { "/", "%20", false },    /* a path, Python's quote() */
        { "!'()*", "%20", false } /* JavaScript's encodeURIComponent() */
    };

    if (value.n < MASK_TEXT_MIN)
        return;
    mask_add(m, value);
    add_lines(m, value);
    add_base64(m, value, sodium_base64_VARIANT_ORIGINAL);
    add_base64(m, value, sodium_base64_VARIANT_URLSAFE);
    for (size_t i = 0; i < COUNT(forms); i++)
        add_url(m, value, &forms[i]);
}
