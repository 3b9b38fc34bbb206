#include "core/msg.h"

#define WORDS(name, doc)                static const char *const name##_texts[] = { "",
#define WORD(name, constant, text, doc) text,
#define END_WORDS(name) \
    }                   \
    ;
#include "messages.def"

#define WORDS(name, doc)                                                                        \
    const word_set words_##name = { name##_texts, sizeof name##_texts / sizeof *name##_texts }; \
    const char *name##_text(name value)                                                         \
    {                                                                                           \
        return (unsigned)value < words_##name.n ? name##_texts[value] : "";                     \
    }
#include "messages.def"

static const char *const type_texts[] = {
    "none",
#define MSG(name, dir, doc) #name,
#include "messages.def"
};

unsigned word_value(const word_set *set, slice word)
{
    for (unsigned i = 1; i < set->n; i++)
        if (slice_is(word, set->text[i]))
            return i;
    return 0;
}

const char *msg_type_text(msg_type type)
{
    return (unsigned)type < MSG_TYPES ? type_texts[type] : "unknown";
}
