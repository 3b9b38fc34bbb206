/*
 * verdict.h - how verdicts compare and add up.
 */
#ifndef VOLT_CORE_VERDICT_H
#define VOLT_CORE_VERDICT_H

#include "core/msg.h"

/* The worse of two: errored > lost > timeout > failed > canceled > no-tests > flaky > passed >
 * skipped; verdict_none is no verdict at all and gives way to the other. */
verdict verdict_worse(verdict a, verdict b);
/* Neither passed nor flaky nor skipped: it reddens what it belongs to. */
bool verdict_is_bad(verdict v);

#endif
