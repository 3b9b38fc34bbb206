/*
 * guard.h - is a frame one well-formed msgpack object that is safe to unpack?
 *
 * msgpack-c believes declared counts: five bytes that claim an array of 2^28 items make it reserve
 * gigabytes.  This walk over the raw bytes comes first; it allocates nothing and does not recurse.
 */
#ifndef VOLT_WIRE_GUARD_H
#define VOLT_WIRE_GUARD_H

#include "base/err.h"
#include "base/slice.h"

#define GUARD_KEYS_MAX 128 /* keys of one map; the largest message has about 30 */

/* VOLT_OK: exactly one object and nothing behind it, nested at most WIRE_DEPTH_MAX maps and arrays
 * deep, each map with at most GUARD_KEYS_MAX different keys that are `str`, every `str` UTF-8, and
 * no ext type. VOLT_EMSG: otherwise; says what and at which byte. */
volt_code guard_check(slice frame, volt_err *err);

#endif
