/*
 * tables.h - what codec.c and print.c need of the tables beyond codec.h.
 */
#ifndef VOLT_WIRE_TABLES_H
#define VOLT_WIRE_TABLES_H

#include "wire/codec.h"

#define WIRE_FIELDS_MAX 64 /* fields of one record or message */

/* The message of that name, or MSG_NONE. */
msg_type wire_type_of(slice name);

#endif
