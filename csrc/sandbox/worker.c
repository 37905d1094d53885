/* In: requests on a socket, each with the descriptors that the child shall hold. Out: reports of how children ended.

   The worker never reads a program, a test or an answer: a child reads its own from its descriptors after the fork, so
   nothing of one run, nor of the other side of the same run, can be found in a child's memory. In C since every page
   that a worker writes to after a fork is copied first. */

#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

static const double SHORTEST_WAIT_S = 0.005;
/* A program is stopped for its wall time when it sleeps, not when a busy machine lets it wait: after its deadline it is
   looked at each second, and stopped when it used less of it than this share; or after this many deadlines. */
static const double SLEEPS_BELOW = 0.02, LOOK_AGAIN_S = 1.0, LONGEST = 10; /* jail.py has LONGEST, too */
static const char READY[] = "ready";
static const int NOT_JAILED = 120; /* exit code */

static double seconds(clockid_t clock)
{
    struct timespec now;
    return clock_gettime(clock, &now) == 0 ? now.tv_sec + now.tv_nsec * 1e-9 : -1;
}

/* CPU time of another process, by the clock that clock_getcpuclockid(3) would name; 0 once it has ended. */
static double cpu_seconds(pid_t pid)
{
    double used = seconds((clockid_t)((~(clockid_t)pid << 3) | 2));
    return used < 0 ? 0 : used;
}

/* ---- cells ---- */

static int look_at(int scratch, struct scratch_state *state)
{
    struct stat root;
    struct statvfs disk;
    if (fstat(scratch, &root) != 0 || fstatvfs(scratch, &disk) != 0)
        return -1;
    memset(state, 0, sizeof *state);
    state->mode = root.st_mode;
    state->user = root.st_uid;
    state->group = root.st_gid;
    state->links = root.st_nlink;
    state->size = (uint64_t)root.st_size;
    state->accessed_s = root.st_atim.tv_sec;
    state->accessed_ns = root.st_atim.tv_nsec;
    state->modified_s = root.st_mtim.tv_sec;
    state->modified_ns = root.st_mtim.tv_nsec;
    state->changed_s = root.st_ctim.tv_sec; /* a program cannot set this one back */
    state->changed_ns = root.st_ctim.tv_nsec;
    state->free_blocks = disk.f_bfree;
    state->free_files = disk.f_ffree;
    return 0;
}

static void close_cell(const struct cell *cell)
{
    close(cell->ruleset);
    if (cell->mounts >= 0)
        close(cell->mounts);
    if (cell->scratch >= 0)
        close(cell->scratch);
}

static int take_cell(struct worker *worker, struct cell *cell)
{
    if (worker->num_free_cells > 0) {
        *cell = worker->free_cells[--worker->num_free_cells];
        return 0;
    }
    if (worker->build_cell(cell, worker->context) != 0)
        return -1;
    return cell->scratch >= 0 ? look_at(cell->scratch, &cell->fresh) : 0;
}

/* Every process that was in it has ended. It serves again if the next program would find it as the last one did. */
static void give_back_cell(struct worker *worker, const struct cell *cell)
{
    struct scratch_state now;
    int untouched =
        cell->scratch < 0 || (look_at(cell->scratch, &now) == 0 && memcmp(&now, &cell->fresh, sizeof now) == 0);
    if (untouched && worker->num_free_cells < MAX_FREE_CELLS)
        worker->free_cells[worker->num_free_cells++] = *cell;
    else
        close_cell(cell);
}

/* ---- children ---- */

static void kill_child(struct child *child, enum stopped reason)
{
    /* At level A it is the first process of its pid namespace: every other one in there dies with it. */
    if (child->stopped == NOT_STOPPED)
        child->stopped = reason;
    syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
}

/* At its deadline: whether it sleeps, or has had all the time there is; if not, it gets a new deadline. The sides of a
   judgement wait for each other, so what counts is the CPU time of all children (less than before: one has ended). */
static int is_out_of_time(struct child *child, double used_by_all, double now)
{
    double longest = child->started + LONGEST * child->wall_s;
    double progress = used_by_all - child->cpu_then;
    if ((progress >= 0 && progress < SLEEPS_BELOW * (now - child->looked)) || now >= longest)
        return 1;
    child->looked = now;
    child->cpu_then = used_by_all;
    child->deadline = now + LOOK_AGAIN_S < longest ? now + LOOK_AGAIN_S : longest;
    return 0;
}

static void enforce_limits(struct worker *worker)
{
    double used[MAX_CHILDREN], used_by_all = 0, now = seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < worker->num_children; i++)
        used_by_all += used[i] = cpu_seconds(worker->children[i].pid);
    for (int i = 0; i < worker->num_children; i++) {
        struct child *child = &worker->children[i];
        if (child->stopped != NOT_STOPPED)
            continue;
        if (used[i] >= child->cpu_s)
            kill_child(child, STOPPED_BY_CPU);
        else if (now >= child->deadline && is_out_of_time(child, used_by_all, now))
            kill_child(child, STOPPED_BY_WALL);
    }
}

/* Until the first limit can be reached: a single thread cannot use more CPU time than time passes. */
static int wait_ms(const struct worker *worker)
{
    double wait_s = -1;
    for (int i = 0; i < worker->num_children; i++) {
        const struct child *child = &worker->children[i];
        double left_s = child->cpu_s - cpu_seconds(child->pid);
        double until_s = child->deadline - seconds(CLOCK_MONOTONIC);
        if (until_s < left_s)
            left_s = until_s;
        if (wait_s < 0 || left_s < wait_s)
            wait_s = left_s > SHORTEST_WAIT_S ? left_s : SHORTEST_WAIT_S;
    }
    return wait_s < 0 ? -1 : (int)(wait_s * 1000) + 1;
}

static int send_report(const struct worker *worker, const struct report *report)
{
    ssize_t sent;
    do
        sent = send(worker->connection, report, sizeof *report, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == sizeof *report ? 0 : -1;
}

static void set_setup(struct report *report, const char *text, ssize_t length)
{
    report->setup_chars = (int32_t)(length < MAX_SETUP_CHARS ? length : MAX_SETUP_CHARS);
    memcpy(report->setup, text, (size_t)report->setup_chars);
}

/* The child has ended: collect it, say how, and let its cell go. */
static int report_child(struct worker *worker, int index)
{
    static const char silent[] = "it died before it was jailed";
    struct child child = worker->children[index];
    struct report report;
    struct rusage usage;
    char setup[MAX_SETUP_CHARS];
    int status;
    memset(&report, 0, sizeof report);
    if (wait4(child.pid, &status, 0, &usage) != child.pid)
        return -1;
    report.run = child.run;
    report.exit = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    report.stopped = child.stopped;
    report.cpu_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                   1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    report.wall_s = seconds(CLOCK_MONOTONIC) - child.started;
    ssize_t length = read(child.setup, setup, sizeof setup);
    if (length <= 0)
        set_setup(&report, silent, sizeof silent - 1);
    else if (length != sizeof READY - 1 || memcmp(setup, READY, sizeof READY - 1) != 0)
        set_setup(&report, setup, length);
    close(child.setup);
    close(child.pidfd);
    worker->children[index] = worker->children[--worker->num_children];
    give_back_cell(worker, &child.cell);
    return send_report(worker, &report);
}

/* ---- a child's first steps ---- */

static void say_and_exit(const struct jail *jail, const char *refused)
{
    char text[MAX_SETUP_CHARS];
    int length = snprintf(text, sizeof text, "%s: %s", refused, strerror(errno));
    /* The pipe has one of two numbers: before the descriptors were moved, or after the others were closed. */
    if (write(jail->descriptors[0], text, (size_t)length) != length &&
        write(FIRST_DESCRIPTOR, text, (size_t)length) != length)
        _exit(NOT_JAILED + 1);
    _exit(NOT_JAILED);
}

static void enter(const struct jail *jail)
{
    /* A core_pattern that is a pipe starts its program on the host whatever RLIMIT_CORE says: core(5). */
    const char *refused = prctl(PR_SET_DUMPABLE, 0) == 0 ? close_jail(jail) : "prctl(PR_SET_DUMPABLE)";
    if (refused != NULL)
        say_and_exit(jail, refused);
    if (write(FIRST_DESCRIPTOR, READY, sizeof READY - 1) != sizeof READY - 1)
        _exit(NOT_JAILED);
    close(FIRST_DESCRIPTOR); /* from here on only the program itself can fail, and it cannot say that the jail did */
}

/* ---- requests ---- */

static int fill_jail(const struct worker *worker, const struct request *request, const struct cell *cell, int setup_end,
                     const int *descriptors, int num_descriptors, struct jail *jail)
{
    memset(jail, 0, sizeof *jail);
    jail->mounts = cell->mounts;
    jail->ruleset = cell->ruleset;
    jail->directory = worker->directory;
    jail->filter = worker->filter;
    jail->output = request->has_output ? descriptors[--num_descriptors] : -1;
    if (num_descriptors < 0 || num_descriptors + 1 > MAX_DESCRIPTORS || request->num_limits > MAX_LIMITS)
        return -1;
    jail->descriptors[0] = setup_end;
    memcpy(jail->descriptors + 1, descriptors, (size_t)num_descriptors * sizeof *descriptors);
    jail->num_descriptors = num_descriptors + 1;
    for (int i = 0; i < request->num_limits; i++) {
        struct rlimit highest;
        rlim_t value = (rlim_t)request->limits[i].value;
        if (getrlimit((int)request->limits[i].kind, &highest) != 0)
            return -1;
        jail->limits[i].kind = (int)request->limits[i].kind;
        jail->limits[i].value = highest.rlim_max < value ? highest.rlim_max : value;
    }
    jail->num_limits = request->num_limits;
    return 0;
}

/* Make the next fork the first process of a new pid namespace. setns back to our own first: a second unshare is refused
   while the first is pending. */
static int unshare_pid_namespace(int own_pidfd)
{
    return own_pidfd < 0 || (setns(own_pidfd, CLONE_NEWPID) == 0 && unshare(CLONE_NEWPID) == 0) ? 0 : -1;
}

/* 1 in the child. Otherwise the child is watched from now on, or (-1) there is none. */
static int spawn(struct worker *worker, const struct request *request, const int *descriptors, int num_descriptors)
{
    struct jail jail;
    struct child *child = &worker->children[worker->num_children];
    int setup[2];
    memset(child, 0, sizeof *child);
    if (worker->num_children == MAX_CHILDREN) {
        errno = EAGAIN;
        return -1;
    }
    if (take_cell(worker, &child->cell) != 0)
        return -1;
    if (pipe2(setup, O_CLOEXEC) != 0)
        goto no_pipe;
    if (fill_jail(worker, request, &child->cell, setup[1], descriptors, num_descriptors, &jail) != 0) {
        errno = EINVAL;
        goto no_child;
    }
    if (unshare_pid_namespace(worker->own_pidfd) != 0 || (child->pid = worker->fork(worker->context)) < 0)
        goto no_child;
    if (child->pid == 0) {
        enter(&jail);
        worker->num_descriptors = jail.num_descriptors - 1;
        return 1;
    }
    close(setup[1]);
    child->run = request->run;
    child->setup = setup[0];
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    child->cpu_s = request->cpu_s;
    child->started = seconds(CLOCK_MONOTONIC);
    child->looked = child->started;
    child->wall_s = request->wall_s;
    child->deadline = child->started + child->wall_s;
    worker->num_children++;
    return 0;
no_child:
    close(setup[0]);
    close(setup[1]);
no_pipe:
    close_cell(&child->cell);
    return -1;
}

static int report_failure(const struct worker *worker, int32_t run)
{
    struct report report;
    char text[MAX_SETUP_CHARS];
    int length = snprintf(text, sizeof text, "no process could be made: %s", strerror(errno));
    memset(&report, 0, sizeof report);
    report.run = run;
    set_setup(&report, text, length);
    return send_report(worker, &report);
}

static int receive(struct worker *worker, struct request *request, int *descriptors, int *num_descriptors)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
    } control;
    struct iovec parts[2] = {{request, sizeof *request}, {worker->payload, sizeof worker->payload}};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    ssize_t length = recvmsg(worker->connection, &message, MSG_CMSG_CLOEXEC);
    if (length == 0)
        return 0; /* the driver is gone */
    if (length < (ssize_t)sizeof *request || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        errno = length < 0 ? errno : EBADMSG;
        return -1;
    }
    worker->payload_bytes = (int)(length - (ssize_t)sizeof *request);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *num_descriptors = 0;
    if (rights != NULL && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
        *num_descriptors = (int)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(descriptors, CMSG_DATA(rights), (size_t)*num_descriptors * sizeof(int));
    }
    return 1;
}

/* 1 in a child, 0 to go on, -1 when the driver is gone or makes no sense. */
static int answer(struct worker *worker)
{
    struct request request;
    int descriptors[MAX_DESCRIPTORS], num_descriptors;
    if (receive(worker, &request, descriptors, &num_descriptors) <= 0)
        return -1;
    int result = 0;
    if (request.kind == REQUEST_SPAWN) {
        result = spawn(worker, &request, descriptors, num_descriptors);
        if (result == 1)
            return 1;
        if (result < 0)
            result = report_failure(worker, request.run);
    } else {
        for (int i = 0; i < worker->num_children; i++)
            if (worker->children[i].run == request.run)
                kill_child(&worker->children[i], STOPPED_AS_ASKED);
    }
    for (int i = 0; i < num_descriptors; i++)
        close(descriptors[i]);
    return result;
}

int serve(struct worker *worker)
{
    for (;;) {
        struct pollfd watched[2 + MAX_CHILDREN];
        int num_children = worker->num_children;
        watched[0] = (struct pollfd){worker->driver, POLLIN, 0};
        watched[1] = (struct pollfd){worker->connection, POLLIN, 0};
        for (int i = 0; i < num_children; i++)
            watched[2 + i] = (struct pollfd){worker->children[i].pidfd, POLLIN, 0};
        if (poll(watched, (nfds_t)(2 + num_children), wait_ms(worker)) < 0 && errno != EINTR)
            return -1;
        if (watched[0].revents)
            return 0; /* the driver died: as pid 1 (level A) or parent (level B) we take every child along */
        for (int i = num_children - 1; i >= 0; i--) /* from the end: the last child takes the place of one that ended */
            if (watched[2 + i].revents && report_child(worker, i) != 0)
                return -1;
        if (watched[1].revents) {
            int result = answer(worker);
            if (result != 0)
                return result < 0 ? 0 : 1;
        }
        enforce_limits(worker);
    }
}
