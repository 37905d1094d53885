/* In: descriptors and constants made by the worker (megatron_codex/sandbox). Out: a process that can only compute.

   C and not Python, as a forked Python interpreter copies every page that it touches: these steps would cost more than
   the fork itself. What is done once for each worker stays in Python (jail.py, cell.py). */

#define _GNU_SOURCE
#include "jail.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The headers may be older than the kernel; these numbers are the same on every architecture. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

static int drop_capabilities(void)
{
    struct __user_cap_header_struct self = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    memset(none, 0, sizeof none);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_capset, &self, none);
}

/* Order matters; each step says what it needs. None is skipped when the kernel refuses it. */
const char *close_jail(const struct jail *jail)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return "prctl(PR_SET_PDEATHSIG)";
    if (jail->mounts >= 0 && setns(jail->mounts, CLONE_NEWNS) != 0)
        return "setns(mount namespace)";
    if (jail->mounts >= 0 && chdir(jail->directory) != 0)
        return "chdir";
    if (jail->output >= 0 && (dup2(jail->output, 1) < 0 || dup2(jail->output, 2) < 0))
        return "dup2(output)";
    for (int i = 0; i < jail->num_descriptors; i++)
        if (dup3(jail->descriptors[i], FIRST_DESCRIPTOR + i, O_CLOEXEC) < 0)
            return "dup3";
    for (int i = 0; i < jail->num_limits; i++) {
        struct rlimit both = {jail->limits[i].value, jail->limits[i].value};
        if (setrlimit(jail->limits[i].kind, &both) != 0)
            return "setrlimit";
    }
    /* setns was the last step that needed any. */
    if (drop_capabilities() != 0)
        return "capset";
    /* Without capabilities Landlock and seccomp need no_new_privs, which the worker has set and its children inherit. */
    if (syscall(SYS_landlock_restrict_self, jail->ruleset, 0) != 0)
        return "landlock_restrict_self";
    /* The ruleset, the namespace and whatever else the worker holds. */
    if (syscall(SYS_close_range, FIRST_DESCRIPTOR + jail->num_descriptors, ~0U, 0) != 0)
        return "close_range";
    /* Last: the filter allows none of the calls above. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &jail->filter) != 0)
        return "seccomp";
    return NULL;
}
