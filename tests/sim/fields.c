/* A hash over all fields of an event, made from the table of messages: cheaper than encoding it
 * once more for each subscriber that applies it. */
#include "sim.h"

#define REC(name, doc)                                                                         \
    __attribute__((unused)) static uint64_t fields_rec_##name(uint64_t h, const rec_##name *m) \
    {                                                                                          \
        (void)m;
#define END_REC(name) \
    return h;         \
    }
#define MSG(name, dir, doc)                                                                    \
    __attribute__((unused)) static uint64_t fields_msg_##name(uint64_t h, const msg_##name *m) \
    {                                                                                          \
        (void)m;
#define END_MSG(name) \
    return h;         \
    }
#define U64(owner, key, presence, min, max, unit, doc) h = mix_word(h, m->key);
#define BOOL(owner, key, doc)                          h = mix_word(h, m->key);
#define ENUM(owner, key, words, presence, doc)         h = mix_word(h, m->key);
#define TEXT(owner, key, presence, max, doc)           h = mix_bytes(h, m->key);
#define HEX(owner, key, presence, doc)                 h = mix_bytes(h, m->key);
#define OID(owner, key, presence, doc)                 h = mix_bytes(h, m->key);
#define BIN(owner, key, presence, max, doc)            h = mix_bytes(h, m->key);
#define TEXTS(owner, key, items, max, doc)             h = mix_word(h, m->key.n);
#define RECS(owner, key, rec, items, doc)              h = mix_word(h, m->key.n);
#define BINS(owner, key, items, max, doc)              h = mix_word(h, m->key.n);
#include "messages.def"

uint64_t event_fields(const msg_event *e)
{
    return fields_msg_event(0, e);
}
