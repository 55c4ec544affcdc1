/* A router that misbehaves. MISCHIEF says how; AT_LOAD makes it do so when the library is loaded. */
#define _GNU_SOURCE
#include "windtunnel_plugin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define SEGFAULT 1
#define ABORT 2
#define HANG 3
#define SLEEP 4
#define MEMORY 5
#define FORK 6
#define EXIT 7
#define QUIT_QUIETLY 8
#define GARBAGE 9
#define FLOOD 10
#define FORGE 11
#define CLOSE 12
#define STACK 13
#define SNOOP 14
#define THREAD 15

#ifndef MISCHIEF
#define MISCHIEF 0
#endif

/* Writes to every descriptor that is open. */
static void to_all(const char *text, int times) {
    for (int k = 0; k < times; k++) {
        for (int fd = 0; fd < 64; fd++) {
            if (write(fd, text, strlen(text)) < 0 && errno == EPIPE) {
                return;
            }
        }
    }
}

static void *nothing_to_do(void *value) {
    *(int *)value = 1;
    return NULL;
}

static volatile int deeper = 1;

static void eat_stack(volatile char *below) {
    volatile char here[4096];
    here[0] = below ? below[0] : 0;
    if (deeper) {
        eat_stack(here);
    }
    here[1] = 1;
}

static void raise_fault(volatile int *nowhere) {
    *nowhere = 1;
}

static void misbehave(char *found, size_t room) {
    (void)found;
    (void)room;
#if MISCHIEF == SEGFAULT
    raise_fault(NULL);
#elif MISCHIEF == ABORT
    abort();
#elif MISCHIEF == HANG
    for (volatile int k = 0;; k++) {
    }
#elif MISCHIEF == SLEEP
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, 0);
    for (;;) {
        sleep(1000);
    }
#elif MISCHIEF == MEMORY
    for (;;) {
        char *more = malloc(1 << 26);
        if (!more) {
            abort();
        }
        memset(more, 1, 4096);
    }
#elif MISCHIEF == FORK
    volatile int made = 0;
    for (volatile int k = 0; k < 100; k++) {
        pid_t child = k % 2 ? fork() : vfork();
        if (child == 0) {
            for (;;) {
                sleep(1000);
            }
        }
        made += child > 0;
    }
    snprintf(found, room, "made %d processes", made);
#elif MISCHIEF == EXIT
    exit(0);
#elif MISCHIEF == QUIT_QUIETLY
    _exit(0);
#elif MISCHIEF == GARBAGE
    puts("{\"problems\":[],\"score\":1000}");
    fprintf(stderr, "garbage\n");
    fflush(stdout);
#elif MISCHIEF == FLOOD
    to_all("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 1 << 30);
#elif MISCHIEF == FORGE
    to_all("{\"suite_error\":\"your suite is wrong\"}\n", 1);
    for (;;) {
        sleep(1000);
    }
#elif MISCHIEF == CLOSE
    for (int fd = 0; fd < 64; fd++) {
        close(fd);
    }
    for (;;) {
        sleep(1000);
    }
#elif MISCHIEF == STACK
    eat_stack(NULL);
#elif MISCHIEF == SNOOP
    /* Everything that works is told. */
#define TRY(what, works)                                                                        \
    if (works) {                                                                                \
        strncat(found, " " what, room - strlen(found) - 1);                                     \
    }
    char path[64];
    struct rlimit none = {0, 0};
    struct timespec times[2] = {{0, 0}, {0, 0}};
    pid_t parent = getppid();
    TRY("environment", environ && environ[0])
    TRY("secret", getenv("SECRET_TOKEN"))
    snprintf(path, sizeof path, "/proc/%d/environ", parent);
    TRY("parent-environment", open(path, O_RDONLY) >= 0)
    snprintf(path, sizeof path, "/proc/%d/mem", parent);
    TRY("parent-memory", open(path, O_RDWR) >= 0)
    TRY("passwd", open("/etc/passwd", O_RDONLY) >= 0)
    TRY("home", opendir(HOME) != NULL)
    TRY("key", open(HOME "/.ssh/id_rsa", O_RDONLY) >= 0)
    TRY("write", open(HOME "/written", O_WRONLY | O_CREAT, 0600) >= 0)
    TRY("write-tmp", open("/tmp/windtunnel-was-here", O_WRONLY | O_CREAT, 0600) >= 0)
    TRY("unlink", unlink(HOME "/.ssh/id_rsa") == 0)
    TRY("rename", rename(HOME "/.ssh/id_rsa", HOME "/stolen") == 0)
    TRY("chmod", chmod(HOME "/.ssh/id_rsa", 0666) == 0)
    TRY("touch", utimensat(AT_FDCWD, HOME "/.ssh/id_rsa", times, 0) == 0)
    TRY("socket", socket(AF_INET, SOCK_STREAM, 0) >= 0)
    TRY("unix-socket", socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
    TRY("kill", kill(parent, 0) == 0)
    TRY("kill-group", kill(0, 0) == 0)
    TRY("queue", syscall(SYS_rt_sigqueueinfo, parent, 0, NULL) == 0 || errno != EPERM)
    TRY("limit", prlimit(parent, RLIMIT_CPU, &none, NULL) == 0)
    TRY("nice", setpriority(PRIO_PROCESS, parent, 19) == 0)
    TRY("owner", fcntl(0, F_SETOWN, parent) == 0)
    TRY("orphan", prctl(PR_SET_PDEATHSIG, 0) == 0)
    TRY("run", execl("/bin/true", "true", NULL) == 0)
    TRY("fork", fork() >= 0)
    TRY("memory-of-others", syscall(SYS_shmget, 1, 4096, 01600) >= 0)
    struct rlimit more = {1u << 30, 1u << 30};
    TRY("processor", setrlimit(RLIMIT_CPU, &more) == 0)
    TRY("more-memory", setrlimit(RLIMIT_AS, &more) == 0 && malloc(5UL << 30) != NULL)
    if (!found[0]) {
        snprintf(found, room, "found nothing");
    }
#elif MISCHIEF == THREAD
    pthread_t thread;
    int value = 0;
    int failed = pthread_create(&thread, NULL, nothing_to_do, &value);
    if (!failed) {
        pthread_join(thread, NULL);
    }
    snprintf(found, room, "threads: %d %d", failed, value);
#endif
    (void)to_all;
    (void)nothing_to_do;
    (void)eat_stack;
    (void)raise_fault;
}

#ifdef AT_LOAD
__attribute__((constructor)) static void at_load(void) {
    char found[512] = "";
    misbehave(found, sizeof found);
}
#endif

static uint64_t interests(const void *state) {
    (void)state;
    return 0;
}

/* Once it has misbehaved and is still there, it says what it found as its error. */
static int32_t route(void *state, const wt_request_view *request, const wt_cluster_view *cluster,
                     wt_route *answer, wt_text *why) {
    (void)state;
    (void)cluster;
    answer->index = 0;
    if (request->serial == 3) {
        char found[512] = "";
        misbehave(found, sizeof found);
        if (found[0]) {
            snprintf(why->data, why->capacity, "%s", found);
            return 1;
        }
    }
    return 0;
}

static const wt_router_fns fns = {sizeof fns, interests, NULL, route, NULL, NULL, NULL, NULL};

static const wt_policy policies[] = {
    {WT_ROUTING, 0, "mischief", NULL, NULL, &fns, NULL, NULL},
};

const wt_plugin windtunnel_plugin = {
    WT_MAGIC, sizeof(wt_plugin), WT_API_MAJOR, WT_API_MINOR, "mischief", "0.0.1", policies, 1,
    sizeof(wt_policy), sizeof(wt_param), 0,
};
