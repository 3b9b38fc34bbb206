/*
 * names.h - what a REPO argument means: a name, where it is read, and what runners are
 * told.
 */
#ifndef VOLT_CMD_OBSERVER_NAMES_H
#define VOLT_CMD_OBSERVER_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define OBSERVER_REPO_NAME_MAX 128 /* bytes, as messages.def has it */

typedef struct observer_source {
    char *name;
    char *text; /* path or URL as given, without the name */
    char *path; /* absolute; NULL: not on this machine */
    char *url;  /* for runners: the URL without a password, or local:HOST:PATH */
} observer_source;

/* "path", "url", "name=path", "name=url".  A path need not exist (yet); "." is the top of the
 * repository that the working directory is in.
 * VOLT_EINVALID: no name can be made of it, or one that cannot be a file's name, or too long. */
volt_code observer_source_read(const char *arg, observer_source *ret, volt_err *err);
void observer_source_free(observer_source *s);

/* n >= 1 of them; *ret is for observer_sources_free().
 * VOLT_EINVALID: as above, or two of the same name. */
volt_code observer_sources_read(const char *const *args, size_t n, observer_source **ret,
                                volt_err *err);
void observer_sources_free(observer_source *v, size_t n);

/* Fits --name: it becomes a part of a topic. */
bool observer_name_ok(const char *name);

#endif
