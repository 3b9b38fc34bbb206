/*
 * checkout.h - making a directory what a manifest says.  For workspace.c only.
 *
 * One walk over the directory and the manifest together.  All names are taken relative to open
 * directories, none of which was reached through a link, so that nothing outside can be touched.
 */
#ifndef VOLT_GIT_CHECKOUT_H
#define VOLT_GIT_CHECKOUT_H

#include "git/manifest.h"
#include "git/workspace.h"

typedef struct checkout {
    objects *objects;
    manifest *m;
    workspace_report *report;
    const workspace_part *parts; /* whose directories are made, but what is in them is left alone */
    size_t parts_n;
    bool spoiled; /* it failed because of what is in the directory: a fresh one may do */
} checkout;

/* Takes `root`, a descriptor of the directory, and closes it.  On success every item is known.
 * VOLT_EIO, VOLT_EFULL, VOLT_ECORRUPT. */
volt_code checkout_run(checkout *c, int root, volt_err *err);

#endif
