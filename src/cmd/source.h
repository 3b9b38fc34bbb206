/*
 * source.h - a repository as it is named on a command line: a path, a URL, or NAME= before either.
 */
#ifndef VOLT_CMD_SOURCE_H
#define VOLT_CMD_SOURCE_H

#include "base/err.h"

/* Zero-initialise; texts are owned. */
typedef struct source {
    char *name; /* what was given, else the basename without ".git" */
    char
        *path; /* on this machine, absolute: the work tree or bare repository; NULL: a remote one */
    char *url; /* as it is submitted: the URL as given, or "local:HOST:" and the path */
} source;

/* Reads REPO.  A path is made absolute without links, and one inside a repository's .git, or of a
 * linked work tree, becomes the repository's own, so that every way to it is one url.
 * VOLT_EINVALID: no usable name, or not a repository.  VOLT_ENOTFOUND: no such path. */
volt_code source_parse(const char *text, source *ret, volt_err *err);
void source_free(source *s);

static inline void cleanup_source(source *s)
{
    source_free(s);
}

#endif
