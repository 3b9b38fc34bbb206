/*
 * msg.h - the messages of VOLT/1 as C types, made from proto/messages.def.
 *
 * A decoded message borrows its texts from the frame and its lists from an arena; both stand for
 * the call that is given the message.  A zero field is an absent one.
 */
#ifndef VOLT_CORE_MSG_H
#define VOLT_CORE_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define MSG_VERSION   1
#define MSG_ID_MAX    ((UINT64_C(1) << 53) - 1) /* what every language's numbers can hold */
#define MSG_U32_MAX   UINT64_C(0xffffffff)
#define MSG_TIME_MAX  (UINT64_C(10) * 365 * 24 * 3600 * 1000)
#define MSG_SLOTS_MAX UINT64_C(1024)

/* The byte streams of an attempt, as `part` of log, log_ok, get and chunk names them. */
typedef enum msg_part { PART_LOG, PART_ARTIFACTS, PARTS_N } msg_part;

/* Words: enum verdict { VERDICT_NONE = 0, VERDICT_PASSED, ... }.  0 is "absent" in each set. */
#define WORDS(name, doc)                typedef enum name { name##_none = 0,
#define WORD(name, constant, text, doc) constant,
#define END_WORDS(name) \
    name##_count        \
    }                   \
    name;
#include "messages.def"

/* Lists.  `v` is borrowed; NULL when n is 0. */
typedef struct slices {
    slice *v;
    size_t n;
} slices;

/* Records (rec_held, ...) with their lists (rec_held_list), and messages (msg_hello, ...). */
#define REC(name, doc) typedef struct rec_##name {
#define END_REC(name)                  \
    }                                  \
    rec_##name;                        \
    typedef struct rec_##name##_list { \
        rec_##name *v;                 \
        size_t n;                      \
    } rec_##name##_list;
#define MSG(name, dir, doc)                   \
    __extension__ typedef struct msg_##name { \
        char no_fields_[0];
#define END_MSG(name) \
    }                 \
    msg_##name;
#define U64(owner, key, presence, min, max, unit, doc) uint64_t key;
#define BOOL(owner, key, doc)                          bool key;
#define TEXT(owner, key, presence, max, doc)           slice key;
#define HEX(owner, key, presence, doc)                 slice key;
#define OID(owner, key, presence, doc)                 slice key;
#define BIN(owner, key, presence, max, doc)            slice key;
#define ENUM(owner, key, words, presence, doc)         words key;
#define TEXTS(owner, key, items, max, doc)             slices key;
#define RECS(owner, key, rec, items, doc)              rec_##rec##_list key;
#define BINS(owner, key, items, max, doc)              slices key;
#include "messages.def"

/* MSG_NONE, MSG_submit, MSG_accepted, ...: named after the message, so that one name finds all. */
#define MSG(name, dir, doc) MSG_##name,
typedef enum msg_type {
    MSG_NONE = 0,
#include "messages.def"
    MSG_TYPES
} msg_type;
#define MSG(name, dir, doc) msg_##name name;
typedef struct msg {
    msg_type type;
    uint64_t r; /* request number, echoed in the answer; 0: none */
    union {
#include "messages.def"
    };
} msg;

/* A set of words, for the codec and for printing: text of value i is text[i], 1 <= i < n. */
typedef struct word_set {
    const char *const *text;
    unsigned n;
} word_set;

#define WORDS(name, doc)                                       \
    extern const word_set words_##name;                        \
    /* The word ("" for 0 and for what is outside the set). */ \
    const char *name##_text(name value);
#include "messages.def"

/* The value of a word, or 0. */
unsigned word_value(const word_set *set, slice word);
/* "hello": the message's name, "none" for MSG_NONE. */
const char *msg_type_text(msg_type type);

#endif
