#include "wire/tables.h"

#include <assert.h>
#include <stddef.h>

#define REQ       true
#define OPT       false
#define ID_MAX    MSG_ID_MAX
#define U32_MAX   MSG_U32_MAX
#define TIME_MAX  MSG_TIME_MAX
#define SLOTS_MAX MSG_SLOTS_MAX

/* owner_x is the C type of record or message x; a name that is both would not compile. */
#define REC(name, doc)      typedef rec_##name owner_##name;
#define MSG(name, dir, doc) typedef msg_##name owner_##name;
#include "messages.def"

/* The interpreter reads enums as unsigned and lists as wire_list. */
#define WORDS(name, doc) static_assert(sizeof(name) == sizeof(unsigned), #name " is an unsigned");
#define REC(name, doc)                                                                  \
    static_assert(sizeof(rec_##name##_list) == sizeof(wire_list), #name " has a list"); \
    static_assert(offsetof(rec_##name##_list, n) == offsetof(wire_list, n), #name " has a list");
#include "messages.def"

#define FIELD(owner, name, kind, presence)                                              \
    .key = #name, .key_n = sizeof #name - 1, .type = WIRE_##kind, .required = presence, \
    .offset = offsetof(owner_##owner, name)

/* Every array ends in an empty field, for ISO C has no empty arrays. */
#define FIELDS(name) static const wire_field fields_##name[] = {
#define END_FIELDS \
    {              \
        0          \
    }              \
    }              \
    ;
#define COUNT(name) (sizeof fields_##name / sizeof *fields_##name - 1)
/* One bit a field in the decoder's set of those seen. */
#define CHECK_COUNT(name) static_assert(COUNT(name) <= WIRE_FIELDS_MAX, #name " has few fields");

#define REC(name, rec_doc) FIELDS(name)
#define END_REC(owner)                                                       \
    END_FIELDS                                                               \
    CHECK_COUNT(owner)                                                       \
    static const wire_table table_##owner = { .name = #owner,                \
                                              .name_n = sizeof #owner - 1,   \
                                              .size = sizeof(owner_##owner), \
                                              .fields = fields_##owner,      \
                                              .n = COUNT(owner) };
#define MSG(name, dir, msg_doc) FIELDS(name)
#define END_MSG(name)           END_FIELDS CHECK_COUNT(name)
#define U64(owner, name, presence, least, most, units, text) \
    { FIELD(owner, name, U64, presence), .min = least, .max = most, .unit = units, .doc = text },
#define BOOL(owner, name, text) { FIELD(owner, name, BOOL, OPT), .doc = text },
#define TEXT(owner, name, presence, most, text) \
    { FIELD(owner, name, TEXT, presence), .max = most, .doc = text },
#define HEX(owner, name, presence, text) { FIELD(owner, name, HEX, presence), .doc = text },
#define OID(owner, name, presence, text) { FIELD(owner, name, OID, presence), .doc = text },
#define BIN(owner, name, presence, most, text) \
    { FIELD(owner, name, BIN, presence), .max = most, .doc = text },
#define ENUM(owner, name, set, presence, text) \
    { FIELD(owner, name, ENUM, presence), .words = &words_##set, .doc = text },
#define TEXTS(owner, name, items, most, text) \
    { FIELD(owner, name, TEXTS, OPT), .max = most, .items_max = items, .doc = text },
#define RECS(owner, name, record, items, text) \
    { FIELD(owner, name, RECS, OPT), .items_max = items, .rec = &table_##record, .doc = text },
#define BINS(owner, name, items, most, text) \
    { FIELD(owner, name, BINS, OPT), .max = most, .items_max = items, .doc = text },
#include "messages.def"

static const wire_table messages[MSG_TYPES] = {
#define MSG(owner, direction, text)                  \
    [MSG_##owner] = { .name = #owner,                \
                      .name_n = sizeof #owner - 1,   \
                      .dir = direction,              \
                      .doc = text,                   \
                      .size = sizeof(owner_##owner), \
                      .fields = fields_##owner,      \
                      .n = COUNT(owner) },
#include "messages.def"
};

const wire_table *wire_message(msg_type type)
{
    return type > MSG_NONE && type < MSG_TYPES ? &messages[type] : NULL;
}

const void *wire_fields(const msg *m)
{
    return &m->submit; /* any member: those of a union begin at one address */
}

msg_type wire_type_of(slice name)
{
    for (msg_type type = MSG_NONE + 1; type < MSG_TYPES; type++)
        if (messages[type].name_n == name.n && memcmp(messages[type].name, name.p, name.n) == 0)
            return type;
    return MSG_NONE;
}

bool wire_is_absent(const wire_field *f, const void *base)
{
    switch (f->type) {
    case WIRE_U64:
        return wire_get_u64(f, base) == 0;
    case WIRE_BOOL:
        return !wire_get_bool(f, base);
    case WIRE_ENUM:
        return wire_get_enum(f, base) == 0;
    case WIRE_TEXT:
    case WIRE_HEX:
    case WIRE_OID:
    case WIRE_BIN:
        return wire_get_slice(f, base).n == 0;
    case WIRE_TEXTS:
    case WIRE_BINS:
        return wire_get_slices(f, base).n == 0;
    case WIRE_RECS:
        return wire_get_list(f, base).n == 0;
    }
    return true;
}
