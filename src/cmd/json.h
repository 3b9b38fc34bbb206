/*
 * json.h - messages and records as JSON, from the tables of the wire format.
 *
 * Keys are those of the protocol, enums are words, numbers are integers (all below 2^53), what is
 * absent is left out.  Bytes that are not UTF-8 cannot be JSON: the text then has U+FFFD for each
 * bad byte and `<key>_base64` next to it has the bytes.
 */
#ifndef VOLT_CMD_JSON_H
#define VOLT_CMD_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "wire/codec.h"

/* Once at the start of main: nothing of jansson fails then, for memory is all it may want (mem.h).
 */
void json_setup(void);

/* A new object with the fields of the struct at `base`, which `t` describes. */
json_t *json_of(const wire_table *t, const void *base);
/* The same for a message's fields; the type is not among them. */
json_t *json_of_msg(const msg *m);
/* The same with numbers that are 0 and lists that are empty, for answers whose readers count on
 * each key. */
json_t *json_of_msg_whole(const msg *m);
/* An array of n records of one table (a list of a message: json_of_list(&wire..., rows.v, n)). */
json_t *json_of_list(const wire_table *rec, const void *v, size_t n);
/* The table of the records of list `key` of message `type`. */
const wire_table *json_list_table(msg_type type, const char *key);

/* Adds bytes as text, with `<key>_base64` when they are not UTF-8. */
void json_add_bytes(json_t *object, const char *key, slice bytes);

/* Appends one line, newline included, and releases the object. */
void json_add_line(json_t *object, buf *out);
/* Prints one line to standard output and releases the object. */
void json_print(json_t *object);

#endif
