/*
 * glob.h - which files a pattern names, as `git ls-files ':(glob)PATTERN'` would say.
 *
 * `*` and `?` match within a name, `[...]` one byte of it (ranges, `!` or `^` to negate, POSIX
 * classes); no one of them matches '/'.  `**` as a whole component matches any number of them: also
 * none in the middle and at the start, at least one at the end.  Other runs of stars are one star.
 * A backslash takes away the meaning of what follows it.  Case counts, a leading dot is nothing
 * special, bytes are bytes.
 *
 * A pathspec is no line of .gitignore, and git's code (dir.c, wildmatch.c) adds to its manual:
 *  - the pattern counts from the top of the tree: `*.c` names no file in a directory;
 *  - read as plain text, wildcards and all, a pattern also names the file of just that path, and
 *    what is below the directory of that path: `tests` and `tests/` name all of `tests/`; but
 *    `test*` does not;
 *  - `.` and empty components drop out, so `.` is everything;
 *  - `**` right behind the text before the first wildcard may cross '/' as if it stood at the start
 *    of a component: `ab**` + `/c` matches "abc/d/c";
 *  - `**` before an escaped '/' matches one directory or more.
 *
 * Pure.  Time: at most pattern x path, whatever the pattern.
 */
#ifndef VOLT_PIPELINE_GLOB_H
#define VOLT_PIPELINE_GLOB_H

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

#define GLOB_MAX 1024 /* bytes of a pattern; a longer one matches nothing */

/* Does `pattern` name the file at `path` (from the top of the tree, '/' between)?  A pattern that
 * glob_check() refuses may be asked, too. */
bool glob_match(slice pattern, slice path);

/* VOLT_EINVALID, with the column: a pattern that no file can match, or that cannot be meant: empty,
 * absolute, with `..` or a NUL, with a set that does not end, an unknown class, an empty range,
 * nothing behind the last backslash, wildcards and a '/' at the end, longer than GLOB_MAX. */
volt_code glob_check(slice pattern, volt_err *err);

#endif
