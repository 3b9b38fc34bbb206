/*
 * cleanup.h - scope-bound release of handles from C libraries, and handing them over.
 *
 *   DEFINE_CLEANUP(git_repository *, git_repository_free);
 *   CLEANUP(git_repository_free) git_repository *repo = NULL;
 *   ...
 *   *ret = TAKE(repo);        the scope's end no longer frees it
 */
#ifndef VOLT_BASE_CLEANUP_H
#define VOLT_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define DEFINE_CLEANUP(type, fn)                                     \
    __attribute__((unused)) static inline void cleanup_##fn(type *p) \
    {                                                                \
        if (*p)                                                      \
            fn(*p);                                                  \
    }                                                                \
    static inline void cleanup_##fn(type *p)

#define CLEANUP(fn) __attribute__((cleanup(cleanup_##fn)))

#define TAKE(p)                        \
    __extension__({                    \
        __typeof__(p) take_tmp_ = (p); \
        (p) = NULL;                    \
        take_tmp_;                     \
    })

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

/* For file descriptors, which are -1 when there is none. */
static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#endif
