/*
 * needs.h - which jobs a job waits for.  For pipeline.c.
 */
#ifndef VOLT_PIPELINE_NEEDS_H
#define VOLT_PIPELINE_NEEDS_H

#include "pipeline/fields.h"

/* Fills in the needs of every job from the names in the texts: that of a job in the file means all
 * its expansions, that of an expansion this one.  Problems: a name that is no job, a job that needs
 * itself, a circle (named), more than PIPELINE_NEEDS_MAX. */
void needs_resolve(reader *r, pipeline *p);

#endif
