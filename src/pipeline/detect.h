/*
 * detect.h - what is tested when a commit has no pipeline file: the directory `tests`.
 *
 * As `python3 -m unittest discover -s tests` finds them, at all depths: a Python file whose name is
 * test*.py and could be imported is a unit; so is each other executable file.
 *
 * Pure: names and modes in, an answer out.
 */
#ifndef VOLT_PIPELINE_DETECT_H
#define VOLT_PIPELINE_DETECT_H

#include <stdint.h>

#include "base/slice.h"

#define DETECT_DIR "tests" /* where it looks */
#define DETECT_JOB "tests" /* the job's name */

typedef enum detect_kind {
    DETECT_NONE,       /* not a unit */
    DETECT_PYTHON,     /* by Python's unittest, in a process of its own */
    DETECT_EXECUTABLE, /* exit status 0 passes */
} detect_kind;

/* What the file at `path` (from the top of the tree, '/' between) with that mode in git's tree
 * (0100644, 0100755, 0120000 ...) is.  A symbolic link may be a Python unit, for discover follows
 * it. */
detect_kind detect_file(slice path, uint32_t mode);

/* How a unit is run whose mode is not at hand; never DETECT_NONE. */
detect_kind detect_unit(slice path);

#endif
