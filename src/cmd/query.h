/*
 * query.h - questions that several commands ask.
 */
#ifndef VOLT_CMD_QUERY_H
#define VOLT_CMD_QUERY_H

#include "cmd/client.h"
#include "cmd/json.h"

/* A build's or task's number as people type it: "42" or "#42".  VOLT_EINVALID. */
volt_code query_id(const char *text, const char *what, uint64_t *ret, volt_err *err);

/* A build's row without its jobs and tasks; stands until the next question.
 * VOLT_ENOTFOUND: there is no such build; else as client_ask(). */
volt_code query_build(client *c, uint64_t build, const rec_build_row **ret, volt_err *err);

/* All units of a build, in order.  The array is the caller's to free; what its rows point to stands
 * as long as the client. */
volt_code query_units(client *c, uint64_t build, rec_test_row **ret, size_t *ret_n, volt_err *err);

/* All cases of a unit, as the list that --json shows; *ret is the caller's. */
volt_code query_cases_json(client *c, uint64_t build, const rec_test_row *unit, json_t **ret,
                           volt_err *err);

/* Waits until the build has its verdict; *ret stands until the next question.  Shows progress
 * meanwhile (progress.h).  A dispatcher that is away is waited for up to a minute, since its
 * restart loses nothing. */
volt_code query_wait(client *c, uint64_t build, const rec_build_row **ret, volt_err *err);

#endif
