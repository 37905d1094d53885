/* The worker's loop: forks a jailed process for each request of the driver, watches it, tells how it ended. */

#ifndef MEGATRON_CODEX_SANDBOX_WORKER_H
#define MEGATRON_CODEX_SANDBOX_WORKER_H

#include <stdint.h>
#include <sys/types.h>

#include "jail.h"

enum { MAX_CHILDREN = 16, MAX_FREE_CELLS = 16, MAX_MESSAGE_BYTES = 1 << 16, MAX_SETUP_CHARS = 256 };

/* What can be seen of a cell's tmpfs: another value means that its program touched it. */
struct scratch_state {
    uint64_t mode, user, group, links, size;
    int64_t accessed_s, accessed_ns, modified_s, modified_ns, changed_s, changed_ns;
    uint64_t free_blocks, free_files;
};

/* What one program has to itself (megatron_codex/sandbox/cell.py); -1: level B has none. */
struct cell {
    int ruleset, mounts, scratch;
    struct scratch_state fresh;
};

enum stopped { NOT_STOPPED, STOPPED_BY_CPU, STOPPED_BY_WALL, STOPPED_AS_ASKED };

struct child {
    int32_t run;
    pid_t pid;
    int pidfd;
    int setup; /* reading end of the pipe on which the child says that its jail is closed, or why not */
    double cpu_s, wall_s; /* limits */
    double started, deadline;
    double looked, cpu_then; /* when its wall time was looked at last, and the CPU time of all children by then */
    enum stopped stopped;
    struct cell cell;
};

/* Messages, one a packet; megatron_codex/sandbox/messages.py has the same layouts. */
enum request_kind { REQUEST_SPAWN = 1, REQUEST_STOP = 2 };

struct request { /* then, for REQUEST_SPAWN, the bytes for the role */
    int32_t kind, run;
    double cpu_s, wall_s;
    int32_t has_output; /* the last descriptor becomes 1 and 2 */
    int32_t num_limits;
    struct {
        int64_t kind, value;
    } limits[MAX_LIMITS];
};

struct report {
    int32_t run, exit; /* code, or minus the signal's number */
    int32_t stopped;   /* enum stopped */
    int32_t setup_chars;
    double cpu_s, wall_s;
    char setup[MAX_SETUP_CHARS]; /* why the jail could not be closed */
};

struct worker {
    int connection, driver; /* the driver's socket, and its pidfd */
    int own_pidfd;          /* -1: no pid namespaces (level B) */
    const char *directory;
    struct sock_fprog filter;
    struct child children[MAX_CHILDREN];
    int num_children;
    struct cell free_cells[MAX_FREE_CELLS];
    int num_free_cells;
    int (*build_cell)(struct cell *cell, void *context); /* 0, or -1 */
    pid_t (*fork)(void *context);                        /* as fork(2) */
    void *context;
    char payload[MAX_MESSAGE_BYTES]; /* in a child: what its role was sent */
    int payload_bytes, num_descriptors;
};

/* Serve until the driver is gone: then 0. In each child: 1, the jail closed, payload and num_descriptors set; the role's
   descriptors start at FIRST_DESCRIPTOR + 1. -1 when the worker cannot go on (errno). */
int serve(struct worker *worker);

#endif
