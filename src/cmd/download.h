/*
 * download.h - archives that tasks left, from the dispatcher.
 */
#ifndef VOLT_CMD_DOWNLOAD_H
#define VOLT_CMD_DOWNLOAD_H

#include "cmd/client.h"

/* The archives that count for these jobs of a build (none: for all), in the order in which they are
 * to be unpacked.  The array is the caller's to free; what its rows point to stands as long as the
 * client.  `hist`: the history that their tasks are of.  VOLT_ENOTFOUND: there is no such build;
 * else as client_ask(). */
volt_code download_list(client *c, uint64_t build, slices jobs, rec_artifact_row **ret,
                        size_t *ret_n, char hist[33], volt_err *err);

/* Fills `fd` up to the whole archive; what is in the file already is not asked for again.
 * VOLT_ENOTFOUND: it is no longer kept.  VOLT_EFULL, VOLT_EIO: the file cannot be written; else as
 * client_ask(). */
volt_code download(client *c, const rec_artifact_row *row, int fd, volt_err *err);

#endif
