/*
 * files.h - small files that are replaced whole, and the directories above them.  Shells only.
 */
#ifndef VOLT_BASE_FILES_H
#define VOLT_BASE_FILES_H

#include <dirent.h>

#include "base/buf.h"
#include "base/err.h"

/* Makes the directory and those above it that are missing.  VOLT_EIO. */
volt_code files_make_dir(const char *path, volt_err *err);
/* Replaces the file by one with these bytes, atomically and durably: after a crash the old or the
 * new one is there, whole.  VOLT_EFULL: no space.  VOLT_EIO. */
volt_code files_replace(const char *path, slice bytes, volt_err *err);
/* Appends the whole file, up to max bytes, to ret.  VOLT_ENOTFOUND: there is none.  VOLT_EFULL: it
 * is longer.  VOLT_EIO. */
volt_code files_read(const char *path, size_t max, buf *ret, volt_err *err);
/* As realpath(path, NULL), opendir() and fdopendir(), but for those who take NULL for "there is
 * nothing": want of memory, which says nothing of what is there, ends the process (mem.h). */
char *files_real_path(const char *path);
DIR *files_open_dir(const char *path);
DIR *files_dir_of(int fd);

#endif
