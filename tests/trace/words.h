/*
 * words.h - the words of a line of a story, and what they stand for.
 */
#ifndef VOLT_TESTS_TRACE_WORDS_H
#define VOLT_TESTS_TRACE_WORDS_H

#include "base/arena.h"
#include "core/msg.h"

#define WORDS_MAX 16

typedef struct words {
    slice v[WORDS_MAX];
    size_t n;
    size_t at; /* the next one to be taken */
} words;

/* What is beyond WORDS_MAX is left out. */
words words_split(slice line);
/* Empty when there is none. */
slice words_next(words *w);
/* The value of key=, anywhere in the line; empty when it is not there. */
slice words_option(const words *w, const char *key);
uint64_t words_number(slice s);

/* What these return is in `a`. */
slices read_list(arena *a, slice text, char by);
/* "1:1:running,2:1:done"; - for nothing. */
rec_held_list read_held(arena *a, slice text);
rec_item_list read_items(arena *a, slice text);
/* n times the same digit: an id. */
slice read_digits(arena *a, slice digit, size_t n);

#endif
