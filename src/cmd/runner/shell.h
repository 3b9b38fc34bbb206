/*
 * shell.h - the shell around core/agent: sockets, executors and spool on one side, the pure
 * machine on the other.
 */
#ifndef VOLT_CMD_RUNNER_SHELL_H
#define VOLT_CMD_RUNNER_SHELL_H

#include "cmd/command.h"
#include "cmd/runner/work.h"
#include "core/agent.h"
#include "net/addr.h"

typedef struct runner_config {
    runner_work *work;
    agent_config agent;      /* without what `work` says: id, hist, maxep */
    const char *const *args; /* for each executor, NULL-ended */
    addr dispatcher;
    int64_t grace_ms; /* of assigns that name none; 0: the executor's own */
} runner_config;      /* borrowed for the call */

/* Runs until drained, stopped or refused.  Errors end it: the loop or the work directory fails. */
volt_code runner_run(const runner_config *config, exit_code *ret, volt_err *err);

#endif
