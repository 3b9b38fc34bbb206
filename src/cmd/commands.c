#include "cmd/command.h"

/* clang-format off: one line each */
#define COMMANDS(X) \
    X(up)           \
    X(dispatcher)   \
    X(observer)     \
    X(executor)     \
    X(keeper)       \
    X(archive)      \
    X(carry)        \
    X(cache)        \
    X(runner)       \
    X(tail)         \
    X(submit)       \
    X(status)       \
    X(builds)       \
    X(tests)        \
    X(build)        \
    X(task)         \
    X(log)          \
    X(artifacts)    \
    X(runners)      \
    X(cancel)       \
    X(rebuild)      \
    X(retry)        \
    X(drain)        \
    X(resume)       \
    X(cordon)       \
    X(lint)         \
    X(plan)         \
    X(completion)   \
    X(man)
/* clang-format on */

#define DECLARE(name) extern const command command_##name;
COMMANDS(DECLARE)

#define ENTRY(name) &command_##name,
const command *const commands[] = { COMMANDS(ENTRY) };
const size_t commands_n = sizeof commands / sizeof *commands;
