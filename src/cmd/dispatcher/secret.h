/*
 * secret.h - random names, and what only the owner of a data directory can say.
 *
 * After sodium_init().
 */
#ifndef VOLT_CMD_DISPATCHER_SECRET_H
#define VOLT_CMD_DISPATCHER_SECRET_H

/* 32 random hex digits. */
void secret_random(char ret[33]);
/* A dispatch_prove: a keyed hash (BLAKE2b, 128 bits). */
void secret_prove(const char *secret, const char *about, char ret[33]);

#endif
