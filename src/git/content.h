/*
 * content.h - the bytes a file has in a work tree: those of its blob after the filters that the
 * commit's attributes ask for.  For checkout.c only.
 */
#ifndef VOLT_GIT_CONTENT_H
#define VOLT_GIT_CONTENT_H

#include "git/manifest.h"

typedef struct content {
    slice bytes;
    git_blob *blob;
    git_buf filtered;
    buf encoded;
} content;

/* Makes the attributes of the manifest's commit those that content_load() goes by. */
volt_code content_setup(objects *o, const manifest *m, volt_err *err);
/* Free with content_free().  VOLT_ECORRUPT: the blob is missing or damaged. */
volt_code content_load(objects *o, const manifest *m, const item *it, content *ret, volt_err *err);
void content_free(content *c);

static inline void cleanup_content(content *c)
{
    content_free(c);
}

#endif
