#include "cmd/command.h"

extern const command command_dispatcher;
extern const command command_completion;
extern const command command_man;

const command *const commands[] = {
    &command_dispatcher,
    &command_completion,
    &command_man,
};
const size_t commands_n = sizeof commands / sizeof *commands;
