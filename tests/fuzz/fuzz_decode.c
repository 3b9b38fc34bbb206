/*
 * fuzz_decode.c - whatever bytes come, wire_decode() refuses them or makes of them a message that
 * can be encoded, reads the same again, and is then encoded to the same bytes.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void check_again(const msg *m)
{
    buf frame = { 0 }, again = { 0 }, one = { 0 }, two = { 0 };
    arena a = { 0 };
    msg back;

    wire_encode(m, &frame);
    require(wire_decode(buf_slice(&frame), &a, &back, NULL) == VOLT_OK, "reads what it wrote");
    wire_encode(&back, &again);
    require(slice_eq(buf_slice(&frame), buf_slice(&again)), "writes the same again");
    wire_print(m, &one);
    wire_print(&back, &two);
    require(slice_eq(buf_slice(&one), buf_slice(&two)), "prints the same");
    buf_free(&frame);
    buf_free(&again);
    buf_free(&one);
    buf_free(&two);
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    arena a = { 0 };
    volt_err err = { 0 };
    msg m;

    if (wire_decode((slice){ (const char *)bytes, n }, &a, &m, &err) == VOLT_OK)
        check_again(&m);
    else
        require(err.msg[0] != '\0', "says what is wrong");
    arena_free(&a);
    return 0;
}
