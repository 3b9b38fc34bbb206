/*
 * report_files.h - the files below a directory that a pattern names, and which of them have changed
 * since they were last looked at.
 */
#ifndef VOLT_EXEC_REPORT_FILES_H
#define VOLT_EXEC_REPORT_FILES_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/slice.h"

typedef struct report_file {
    char *path; /* below the directory */
    struct stat st;
} report_file;

typedef struct report_files {
    report_file *v; /* by path */
    size_t n, cap;
} report_files; /* zero-initialise */

/* Regular files whose path below `dir` matches; symbolic links, and `.git`, are passed over.
 * VOLT_EFULL: more than `files_max` match, or the directories have more than `entries_max` entries.
 * A directory that cannot be read has no files. */
volt_code report_files_find(const char *dir, slice pattern, size_t files_max, size_t entries_max,
                            report_files *ret, volt_err *err);
void report_files_free(report_files *f);
/* The entry was there before, and nothing has written to it since. */
bool report_files_has(const report_files *before, const report_file *now);
/* Sets the file's date back, and what `f` knows of it. */
void report_files_age(const char *dir, report_file *f);

static inline void cleanup_report_files(report_files *f)
{
    report_files_free(f);
}

#endif
