/*
 * seal.h - the digest at the end of an archive: a frame that zstd skips, with the BLAKE2b of all
 * before it.  For archive.c and pack.c only.
 */
#ifndef VOLT_EXEC_SEAL_H
#define VOLT_EXEC_SEAL_H

#include <stdint.h>

#include "base/err.h"

#define SEAL_MAGIC  0x184d2a5eu /* one of the sixteen of skippable frames, RFC 8878 */
#define SEAL_DIGEST 32
#define SEAL_SIZE   (8 + SEAL_DIGEST)

/* The frame for a digest. */
void seal_make(const unsigned char digest[SEAL_DIGEST], unsigned char ret[SEAL_SIZE]);
/* Reads the file from its start.  VOLT_ECORRUPT: it is not sealed, or changed since.  VOLT_EIO. */
volt_code seal_check(int fd, const char *name, volt_err *err);

#endif
