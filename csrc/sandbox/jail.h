/* The jail, closed around a freshly forked process: the last steps before an untrusted program is read. */

#ifndef MEGATRON_CODEX_SANDBOX_JAIL_H
#define MEGATRON_CODEX_SANDBOX_JAIL_H

#include <linux/filter.h>
#include <sys/resource.h>

enum { FIRST_DESCRIPTOR = 3, MAX_DESCRIPTORS = 8, MAX_LIMITS = 16 };

struct limit {
    int kind; /* RLIMIT_* */
    rlim_t value;
};

struct jail {
    int mounts;            /* mount namespace to enter, or -1 for the present one */
    const char *directory; /* working directory in it */
    int output;            /* becomes 1 and 2, or -1: they stay */
    int descriptors[MAX_DESCRIPTORS]; /* become 3, 4, ...; each is above those numbers */
    int num_descriptors;
    struct limit limits[MAX_LIMITS];
    int num_limits;
    int ruleset; /* Landlock's */
    struct sock_fprog filter;
};

/* Close the jail around this process, for good. NULL, or the name of the step that the kernel refused (see errno).
   Needs no_new_privs; the capabilities that entering `mounts` takes are given up. */
const char *close_jail(const struct jail *jail);

#endif
