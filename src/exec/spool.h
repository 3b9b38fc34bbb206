/*
 * spool.h - what an attempt leaves on the runner's disk until the dispatcher has it.
 *
 *   WORK/spool/<task>-<att>       records, each a 4-byte length, a byte spool_part and a frame:
 *       assign   as received, written before anything starts
 *       plan     any number
 *       tests    any number
 *       result   without `log`; the last
 *   WORK/spool/<task>-<att>.log        the output, raw; made when there is any
 *   WORK/spool/<task>-<att>.artifacts  the archive that it leaves; whole when there is a result
 *
 * One file, for a small task's costs are files: where directories' blocks are discarded at once
 * (ext4 with discard and no journal), removing one took 2.2 ms.
 *
 * The executor writes; the agent reads and deletes.  A torn last record, which a killed executor
 * leaves, is none.  An attempt without `assign` never started anything; one without `result` whose
 * executor is gone is lost.
 * Nothing is synced: that would matter only when the whole machine stops, and then every process of
 * the attempt has ended too, so the dispatcher has to run another one anyway.
 */
#ifndef VOLT_EXEC_SPOOL_H
#define VOLT_EXEC_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/msg.h"

typedef enum spool_part {
    SPOOL_ASSIGN,
    SPOOL_PLAN,
    SPOOL_TESTS,
    SPOOL_LOG,
    SPOOL_RESULT
} spool_part;

typedef struct spool_id {
    uint64_t task;
    uint64_t att;
} spool_id;

typedef struct spool spool;

/* The spool of a new attempt: its file with `assign`; makes WORK/spool as needed.
 * VOLT_EEXISTS: the attempt has one already.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code spool_create(const char *work, spool_id id, slice assign, spool **ret, volt_err *err);
/* An existing one.  VOLT_ENOTFOUND, VOLT_EIO. */
volt_code spool_open(const char *work, spool_id id, spool **ret, volt_err *err);
/* Closes; leaves what is on disk. */
void spool_free(spool *s);

/* The log or the artifacts, open for writing and reading, made when not there; close-on-exec, the
 * spool's to close; -1 with errno.  Not O_APPEND, for splice() refuses that. */
int spool_stream_fd(spool *s, msg_part part);
/* Where that is, in `a`. */
const char *spool_stream_path(const spool *s, msg_part part, arena *a);
/* When the last record was added, by the clock of the file system: nanoseconds since 1970. */
int64_t spool_changed_ns(const spool *s);
/* Appends a frame to SPOOL_PLAN or SPOOL_TESTS.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code spool_add(spool *s, spool_part part, slice frame, volt_err *err);
/* Adds `result`.  VOLT_ENOTFOUND: the spool was deleted.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code spool_finish(spool *s, slice result, volt_err *err);

bool spool_has_result(const spool *s);
/* Appends a whole part (not the log) to `out`, nothing when it is not there: a frame, or those of
 * SPOOL_PLAN and SPOOL_TESTS with their lengths, for spool_next().
 * VOLT_EFULL: the attempt has more than `max` bytes.  VOLT_EIO. */
volt_code spool_read(const spool *s, spool_part part, size_t max, buf *out, volt_err *err);
/* Walks the frames of SPOOL_PLAN or SPOOL_TESTS as read: takes the first off *rest.
 * False: no whole one is left. */
bool spool_next(slice *rest, slice *ret);
/* Reads bytes [off, off + max) of the log or the artifacts into `to`, as far as there are; *n of
 * them came. */
volt_code spool_read_stream(spool *s, msg_part part, uint64_t off, char *to, size_t max, size_t *n,
                            volt_err *err);

/* Every attempt that has a spool, by task and attempt; *ret is an array of *n, freed with free().
 * Clears away what an interrupted spool_delete() left. */
volt_code spool_scan(const char *work, spool_id **ret, size_t *n, volt_err *err);
/* Deletes an attempt's spool.  Harmless when there is none.  Whoever has it open may go on reading
 * and writing. */
void spool_delete(const char *work, spool_id id);

#endif
