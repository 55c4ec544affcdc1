/* A router that tries what a plugin in the sandbox must not be able to do. It touches nothing but
 * files below PLACE, which the test makes, and no process but itself and its own children. What
 * works is told as its error.
 *
 * With ALONE it is a program that tries the same without a sandbox and prints what works: a probe
 * that works nowhere would prove nothing. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define ROOM 8192
static char found[ROOM];

#define TRY(what, works)                                                                       \
    if (works) {                                                                               \
        strncat(found, " " what, ROOM - strlen(found) - 1);                                    \
    }

/* Numbers that are the same on all processors and that older headers lack. */
enum {
    NR_open_tree = 428, NR_openat2 = 437, NR_pidfd_open = 434, NR_mount_setattr = 442, NR_listmount = 458,
    NR_setxattrat = 463, NR_getxattrat = 464, NR_listxattrat = 465, NR_removexattrat = 466, NR_file_getattr = 468,
    NR_file_setattr = 469, NR_io_uring_setup = 425, NR_memfd_secret = 447, NR_landlock = 444, NR_cachestat = 451,
};

static void *nothing_to_do(void *value) {
    return value;
}

static int thread_starts(void) {
    pthread_t thread;
    return pthread_create(&thread, NULL, nothing_to_do, NULL) == 0 && pthread_join(thread, NULL) == 0;
}

/* Whether a child is made; it ends at once. */
static int child_of(pid_t child) {
    if (child == 0) {
        _exit(0);
    }
    return child > 0 && waitpid(child, NULL, 0) == child;
}

/* Whether a program is run. Where no child can be made, in this process. */
static int runs(void) {
    pid_t child = fork();
    if (child <= 0) {
        execl("/bin/true", "true", NULL);
        if (child == 0) {
            _exit(1);
        }
        return 0;
    }
    int status = 1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Whether errors of a call tell a file that is there from one that is not. */
static int tells_apart(const char *there, const char *gone) {
    errno = 0;
    int first = open(there, O_RDONLY) >= 0 ? 0 : errno;
    errno = 0;
    int second = open(gone, O_RDONLY) >= 0 ? 0 : errno;
    return first != second;
}

static void probe(void) {
    const char *file = PLACE "/file", *more = PLACE "/more";
    char text[256];
    struct stat state;
    int zero = 0;

    /* Attributes of files. */
    TRY("setxattr", setxattr(file, "user.a", "b", 1, 0) == 0)
    TRY("getxattr", getxattr(file, "user.a", text, sizeof text) >= 0)
    TRY("listxattr", listxattr(file, text, sizeof text) >= 0)
    struct { unsigned long value; unsigned size, flags; } attribute = {(unsigned long)"c", 1, 0};
    TRY("setxattrat", syscall(NR_setxattrat, AT_FDCWD, file, 0, "user.b", &attribute, sizeof attribute) == 0)
    attribute.value = (unsigned long)text;
    TRY("getxattrat", syscall(NR_getxattrat, AT_FDCWD, file, 0, "user.b", &attribute, sizeof attribute) >= 0)
    TRY("listxattrat", syscall(NR_listxattrat, AT_FDCWD, file, 0, text, sizeof text) >= 0)
    TRY("removexattrat", syscall(NR_removexattrat, AT_FDCWD, file, 0, "user.b") == 0)
    TRY("removexattr", removexattr(file, "user.a") == 0)
    unsigned long long attributes[8] = {0};
    TRY("file_getattr", syscall(NR_file_getattr, AT_FDCWD, file, attributes, 24, 0) == 0)
    TRY("file_setattr", syscall(NR_file_setattr, AT_FDCWD, file, attributes, 24, 0) == 0)

    /* Mounts. */
    unsigned long long mount[4] = {0};
    TRY("mount_setattr", syscall(NR_mount_setattr, AT_FDCWD, "/", 0, mount, sizeof mount) == 0)
    TRY("open_tree", syscall(NR_open_tree, AT_FDCWD, PLACE, 0) >= 0)
    unsigned long long request[4] = {24, ~0ull, 0, 0}, mounts[4];
    TRY("listmount", syscall(NR_listmount, request, mounts, 4, 0) >= 0)
    TRY("unshare", unshare(CLONE_FS) == 0)

    /* Descriptors. */
    TRY("ioctl", ioctl(0, FIONBIO, &zero) == 0)
    TRY("owner", fcntl(0, F_SETOWN, getpid()) == 0)
    TRY("flags", fcntl(0, F_SETFL, 0) == 0)
    TRY("dup", dup(0) >= 0)
    TRY("dup-up", fcntl(0, F_DUPFD, 100) >= 0)
    TRY("pipe", pipe((int[2]){0, 0}) == 0)
    TRY("epoll", epoll_create1(0) >= 0)
    TRY("eventfd", eventfd(0, 0) >= 0)
    TRY("inotify", inotify_init1(0) >= 0)
    TRY("o_path", open(file, O_PATH) >= 0)
    TRY("o_path-outside", open("/etc/passwd", O_PATH) >= 0)

    /* Threads and processes. */
    TRY("thread", thread_starts())
    TRY("fork", child_of(fork()))
    TRY("clone", child_of((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)))
    TRY("run", runs())

    /* The network. */
    TRY("socket", socket(AF_INET, SOCK_STREAM, 0) >= 0)
    TRY("unix-socket", socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
    TRY("netlink", socket(AF_NETLINK, SOCK_RAW, 0) >= 0)
    TRY("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0, 0}) == 0)

    /* Signals. */
    siginfo_t info = {0};
    timer_t timer;
    struct itimerval never = {{0, 0}, {0, 0}};
    sigset_t none;
    sigemptyset(&none);
    TRY("kill", kill(getpid(), 0) == 0)
    TRY("tgkill", syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGURG) == 0)
    info.si_code = -1;
    TRY("queue", syscall(SYS_rt_sigqueueinfo, getpid(), SIGURG, &info) == 0)
    TRY("pidfd", syscall(NR_pidfd_open, getpid(), 0) >= 0)
    TRY("timer", timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0)
    TRY("itimer", setitimer(ITIMER_REAL, &never, NULL) == 0)
    TRY("signalfd", signalfd(-1, &none, 0) >= 0)
    TRY("death-signal", prctl(PR_SET_PDEATHSIG, 0) == 0)
    TRY("dumpable", prctl(PR_SET_DUMPABLE, 0) == 0)

    /* Memory that others can see, and memory of others by its own id. */
    int seen = 7, read_back = 0;
    struct iovec from = {&seen, sizeof seen}, into = {&read_back, sizeof read_back};
    TRY("readv", process_vm_readv(getpid(), &into, 1, &from, 1, 0) > 0)
    TRY("writev", process_vm_writev(getpid(), &into, 1, &from, 1, 0) > 0)
    TRY("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 2, 0, 0) >= 0)
    TRY("memfd", memfd_create("a", 0) >= 0)
    long made = syscall(SYS_shmget, 0, 4096, 01600);
    TRY("shm", made >= 0 && syscall(SYS_shmctl, made, 0, NULL) == 0)
    made = syscall(SYS_semget, 0, 1, 01600);
    TRY("sem", made >= 0 && syscall(SYS_semctl, made, 0, 0, 0) == 0)
    made = syscall(SYS_msgget, 0, 01600);
    TRY("msg", made >= 0 && syscall(SYS_msgctl, made, 0, NULL) == 0)
    TRY("mlock", mlock(&seen, sizeof seen) == 0)

    /* Priorities. */
    struct sched_param param = {0};
    cpu_set_t cores;
    TRY("priority", setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0)) == 0)
    TRY("affinity", sched_getaffinity(0, sizeof cores, &cores) == 0 && sched_setaffinity(0, sizeof cores, &cores) == 0)
    TRY("scheduler", sched_setscheduler(0, SCHED_OTHER, &param) == 0)
    TRY("ioprio", syscall(SYS_ioprio_set, 1, 0, 0) == 0)

    /* Clocks, keys, and what is the machine's. */
    struct timex adjust = {0};
    TRY("adjtime", clock_adjtime(CLOCK_REALTIME, &adjust) >= 0)
    TRY("timerfd", timerfd_create(CLOCK_MONOTONIC, 0) >= 0)
    TRY("key", syscall(SYS_keyctl, 0, -2, 1) >= 0)
    TRY("personality", syscall(SYS_personality, 0xffffffff) >= 0)
    TRY("filter", syscall(SYS_seccomp, 2, 0, &(unsigned){0x7fff0000}) == 0)
    TRY("landlock", syscall(NR_landlock, NULL, 0, 1) >= 0)
    unsigned ring[30] = {0};
    TRY("io_uring", syscall(NR_io_uring_setup, 1, ring) >= 0)
    struct rlimit limit;
    TRY("limit", getrlimit(RLIMIT_NOFILE, &limit) == 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0)
    unsigned capabilities[3] = {0x20080522, 0, 0}, sets[6] = {0};
    TRY("capabilities", syscall(SYS_capget, capabilities, sets) == 0)

    /* Files outside, and what can be known of them. */
    TRY("file", open(file, O_RDONLY) >= 0)
    TRY("suite", open(SUITE, O_RDONLY) >= 0)
    TRY("passwd", open("/etc/passwd", O_RDONLY) >= 0)
    TRY("maps", open("/proc/self/maps", O_RDONLY) >= 0)
    TRY("libraries", open("/lib", O_RDONLY | O_DIRECTORY) >= 0)
    TRY("null", open("/dev/null", O_RDWR) >= 0)
    TRY("folder", opendir(PLACE) != NULL)
    TRY("openat2", syscall(NR_openat2, AT_FDCWD, file, (unsigned long long[3]){0, 0, 0}, 24) >= 0)
    TRY("errors", tells_apart(file, PLACE "/none"))
    TRY("stat", stat(file, &state) == 0)
    TRY("lstat", lstat(file, &state) == 0)
    TRY("empty-path", fstatat(AT_FDCWD, file, &state, AT_EMPTY_PATH) == 0)
    struct statx_probe { char bytes[256]; } wide;
    TRY("statx", syscall(SYS_statx, AT_FDCWD, file, 0, 0x7ff, &wide) == 0)
    TRY("access", access(file, F_OK) == 0)
    TRY("readlink", readlink(PLACE "/link", text, sizeof text) >= 0)
    struct statfs system;
    TRY("statfs", statfs("/", &system) == 0)
    TRY("chdir", chdir(PLACE) == 0)
    struct { unsigned bytes; int type; char handle[128]; } handle = {128, 0, ""};
    int id;
    TRY("handle", syscall(SYS_name_to_handle_at, AT_FDCWD, file, &handle, &id, 0) == 0)

    /* Writing. */
    TRY("create", open(more, O_WRONLY | O_CREAT, 0600) >= 0)
    TRY("append", open(file, O_WRONLY | O_APPEND) >= 0)
    TRY("unnamed", open(PLACE, O_TMPFILE | O_RDWR, 0600) >= 0)
    TRY("chmod", chmod(file, 0600) == 0)
    TRY("chown", chown(file, -1, -1) == 0)
    TRY("touch", utimensat(AT_FDCWD, file, NULL, 0) == 0)
    TRY("truncate", truncate(more, 0) == 0)
    TRY("hard-link", link(file, PLACE "/hard") == 0)
    TRY("symbolic-link", symlink("file", PLACE "/soft") == 0)
    TRY("rename", rename(PLACE "/hard", PLACE "/harder") == 0)
    TRY("unlink", unlink(PLACE "/harder") == 0)
    TRY("mkdir", mkdir(PLACE "/made", 0700) == 0)
    TRY("rmdir", rmdir(PLACE "/made") == 0)
    TRY("pipe-file", mkfifo(PLACE "/fifo", 0600) == 0)
    TRY("sync", syscall(SYS_syncfs, 0) == 0)
}

#ifdef ALONE
int main(void) {
    probe();
    puts(found);
    return 0;
}
#else
#include "windtunnel_plugin.h"

__attribute__((constructor)) static void at_load(void) {
    probe();
    if (found[0]) {
        strncat(found, " (at load)", ROOM - strlen(found) - 1);
    }
}

static uint64_t interests(const void *state) {
    (void)state;
    return 0;
}

static int32_t route(void *state, const wt_request_view *request, const wt_cluster_view *cluster, wt_route *answer,
                     wt_text *why) {
    (void)state;
    (void)cluster;
    answer->index = 0;
    if (request->serial == 3) {
        probe();
        /* Memory and time are there. */
        char *memory = malloc(1 << 24);
        struct timespec now;
        int works = memory && clock_gettime(CLOCK_MONOTONIC, &now) == 0 && mprotect(NULL, 0, PROT_NONE) == 0;
        snprintf(why->data, why->capacity, "works: %d; found:%s", works, found[0] ? found : " nothing");
        return 1;
    }
    return 0;
}

static const wt_router_fns fns = {sizeof fns, interests, NULL, route, NULL, NULL, NULL, NULL};

static const wt_policy policies[] = {
    {WT_ROUTING, 0, "probes", NULL, NULL, &fns, NULL, NULL},
};

const wt_plugin windtunnel_plugin = {
    WT_MAGIC, sizeof(wt_plugin), WT_API_MAJOR, WT_API_MINOR, "probes", "0.0.1", policies, 1,
    sizeof(wt_policy), sizeof(wt_param), 0,
};
#endif
