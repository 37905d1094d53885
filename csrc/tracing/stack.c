/* The stack's end is asked of the system once for each thread. */

#define _GNU_SOURCE
#include "stack.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* For the C code that a call may come to, none of which passes here: a regular expression, a sort. */
static const size_t RESERVE_BYTES = 256 << 10;

static uintptr_t find_limit(void)
{
    pthread_attr_t attributes;
    void *lowest = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return 1; /* not known: never used up */
    int found = pthread_attr_getstack(&attributes, &lowest, &size) == 0;
    pthread_attr_destroy(&attributes);
    return found && size > 2 * RESERVE_BYTES ? (uintptr_t)lowest + RESERVE_BYTES : 1;
}

int is_stack_used_up(void)
{
    static __thread uintptr_t limit;
    char here;
    if (limit == 0)
        limit = find_limit();
    return (uintptr_t)&here < limit;
}
