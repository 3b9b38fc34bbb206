#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cmd/command.h"
#include "cmd/dispatcher/server.h"

#define HEARTBEAT_MIN_MS 20
#define HEARTBEAT_MS     1000 /* when only --lease was given */
#define LEASE_MS         15000
#define DAY_MS           (24LL * 3600 * 1000)
#define MIB              (INT64_C(1) << 20)

static exit_code run(const command_line *line)
{
    char *state = command_state_dir("dispatcher");
    const char *dir = command_text(line, "data");
    server_config config = {
        .dir = dir ? dir : state,
        .at.port = (int)command_number(line, "port"),
        .keep = { .ms = command_number(line, "keep-days") * DAY_MS,
                  .builds = (uint64_t)command_number(line, "keep-builds"),
                  .bytes = (uint64_t)command_bytes(line, "keep-bytes") },
        .artifact_max = (uint64_t)command_bytes(line, "max-artifacts"),
        .hb_ms = command_ms(line, "heartbeat"),
        .lease_ms = command_ms(line, "lease"),
        .new_history = command_flag(line, "accept-rollback"),
    };
    addr_list list;
    volt_err err;
    volt_code code;

    snprintf(config.at.host, sizeof config.at.host, "%s", command_text(line, "host"));
    if (config.hb_ms || config.lease_ms) { /* one alone goes with the other's usual value */
        config.hb_ms = config.hb_ms ? config.hb_ms : HEARTBEAT_MS;
        config.lease_ms = config.lease_ms ? config.lease_ms : LEASE_MS;
    }
    if (config.lease_ms < 4 * config.hb_ms) {
        free(state);
        return command_fail_with(line, EXIT_USAGE, "--lease must be at least four heartbeats");
    }
    if (addr_resolve(&config.at, 0, &list, &err)) {
        free(state);
        return command_fail_with(line, EXIT_USAGE, "--host: %s", err.msg);
    }
    code = server_run(&config, &err);
    free(state);
    if (code != VOLT_OK)
        return command_fail(line, &err);
    log_note("stopped");
    return EXIT_DONE;
}

static const option_spec options[] = {
    { .name = "host",
      .kind = OPTION_TEXT,
      .arg = "HOST",
      .def = "localhost",
      .help = "address or name to listen on; '*' is every interface" },
    { .name = "port",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "8888",
      .max = ADDR_PORT_MAX,
      .help = "first of the three ports; 0 takes free ones and writes them to DATA/endpoint" },
    { .name = "data",
      .kind = OPTION_TEXT,
      .arg = "DIR",
      .help = "where the history is kept; default: ~/.local/state/volt/dispatcher" },
    { .name = "keep-days",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "0",
      .max = 36500,
      .help = "forget the details of builds that ended longer ago: jobs, tasks, logs, artifacts; "
              "their lines and the histories of test files are kept ten times as long, 180 days at "
              "least; 0: no such bound" },
    { .name = "keep-builds",
      .kind = OPTION_NUMBER,
      .arg = "N",
      .def = "0",
      .max = 1000000,
      .help = "of each repository, keep the details of the newest N builds that have ended; 0: no "
              "such bound" },
    { .name = "keep-bytes",
      .kind = OPTION_SIZE,
      .arg = "SIZE",
      .def = "0",
      .max = INT64_MAX,
      .help = "while the data takes more, forget the details of the build that ended first, and "
              "events older than a day; 0: no such bound" },
    { .name = "max-artifacts",
      .kind = OPTION_SIZE,
      .arg = "SIZE",
      .def = "1G",
      .min = MIB,
      .max = MIB << 20,
      .help = "artifacts of one attempt, packed; a task that has more leaves none" },
    { .name = "accept-rollback",
      .kind = OPTION_FLAG,
      .help =
          "the data directory is an old copy, and there is no newer one: go on from it as a new "
          "history" },
    { .name = "heartbeat",
      .kind = OPTION_DURATION,
      .arg = "TIME",
      .min = HEARTBEAT_MIN_MS,
      .help = "how often runners report; default: 1s, with more than 1,000 runners 5s" },
    { .name = "lease",
      .kind = OPTION_DURATION,
      .arg = "TIME",
      .min = 4 * HEARTBEAT_MIN_MS,
      .help =
          "silence after which a runner's work is given to others; default: 15s, with more than "
          "1,000 runners 60s" },
};

const command command_dispatcher = {
    .name = "dispatcher",
    .args = "",
    .summary = "queue commits and hand their tests to runners",
    .text = "Listens on three ports from --port on: submissions, runners and clients, events.\n"
            "Everything it has acknowledged is in its data directory; kill it at any moment and "
            "start it again.",
    .options = options,
    .options_n = sizeof options / sizeof *options,
    .run = run,
};
