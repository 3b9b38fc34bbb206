/*
 * schema.h - the shape of DIR/volt.db, and how an older shape becomes today's.
 *
 * A version is the number of steps that were carried out (PRAGMA user_version); a new file has
 * none. A step is never changed once released: what must differ becomes the next one.
 */
#ifndef VOLT_STORE_SCHEMA_H
#define VOLT_STORE_SCHEMA_H

#include <sqlite3.h>
#include <stddef.h>

#include "base/err.h"

#define SCHEMA_APPLICATION_ID 0x564f4c54 /* "VOLT", in the file's header */

/* Step i, SQL, makes version i + 1 out of version i. */
typedef struct schema {
    const char *const *steps;
    size_t n;
} schema;

extern const schema schema_current;

/* Reads, without writing, whether the file can be used; *ret is its version.
 * VOLT_ECORRUPT: another program's database.  VOLT_EVERSION: made by a newer Volt.
 * Else as sqlite_fail(). */
volt_code schema_check(sqlite3 *db, const schema *target, const char *path, size_t *ret,
                       volt_err *err);
/* Carries out the steps that are missing behind version `from`, all or none, and durably. */
volt_code schema_migrate(sqlite3 *db, const schema *target, const char *path, size_t from,
                         volt_err *err);

#endif
