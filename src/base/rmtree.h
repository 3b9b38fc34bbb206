/*
 * rmtree.h - removing a directory that was somebody else's to fill.
 *
 * Never follows a symbolic link, never enters a mount, opens up directories without permissions,
 * and needs neither memory nor descriptors in proportion to their depth.
 */
#ifndef VOLT_BASE_RMTREE_H
#define VOLT_BASE_RMTREE_H

#include <stdbool.h>

#include "base/err.h"

/* Removes `name`, a file or a directory with all in it, from the directory `at` (a descriptor or
 * AT_FDCWD); fine when there is none.  Nobody else may write there meanwhile.
 * VOLT_EIO, naming what could not be removed (a mount, an immutable file). */
volt_code rmtree(int at, const char *name, volt_err *err);

/* Opens the directory `name` in `at`: no link followed, no mount entered (EXDEV), access made
 * possible by chmod if it is ours.  -1 and errno. */
int rmtree_open_dir(int at, const char *name);

#endif
