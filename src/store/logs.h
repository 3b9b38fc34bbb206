/*
 * logs.h - long logs and artifacts as files: DIR/logs/<task>-<att> and <task>-<att>.artifacts.
 *
 * Short logs travel inside results and are kept in the store itself.  A file is written at offsets
 * that the core has checked, so a piece that comes again after a restart overwrites itself.
 */
#ifndef VOLT_STORE_LOGS_H
#define VOLT_STORE_LOGS_H

#include <stdint.h>

#include "base/buf.h"
#include "store/store.h"

typedef struct logs logs;

/* Makes DIR/logs when it is not there.  VOLT_EIO. */
volt_code logs_open(const char *dir, logs **ret, volt_err *err);
void logs_close(logs *l);
/* VOLT_ENOTFOUND: the directory was deleted, with what was acknowledged. */
volt_code logs_check(const logs *l, volt_err *err);

/* VOLT_EFULL: no space; what was there is, and some of `bytes` may be.  VOLT_EIO: what was written
 * before may be lost, too. */
volt_code logs_write(logs *l, const log_name *name, uint64_t off, slice bytes, volt_err *err);
/* Cuts the file to `bytes` bytes and makes it durable.  What was written was already on its way to
 * the disk, so this waits for the rest only.  VOLT_EFULL, VOLT_EIO: the file was removed. */
volt_code logs_sync(logs *l, const log_name *name, uint64_t bytes, volt_err *err);
/* Appends at most max bytes from `off` to ret; none when there is no such file.  VOLT_EIO. */
volt_code logs_read(logs *l, const log_name *name, uint64_t off, size_t max, buf *ret,
                    volt_err *err);
void logs_remove(logs *l, const log_name *name);
/* Removes what a process that ended at a bad moment left: files of tasks that `s` has forgotten,
 * and artifacts that never were whole.  What is newer than `s` is left alone.  Counts the bytes of
 * the others.  Errors of the store. */
volt_code logs_sweep(logs *l, store *s, volt_err *err);
/* Bytes of all files, since a sweep that succeeded. */
uint64_t logs_bytes(const logs *l);

#endif
