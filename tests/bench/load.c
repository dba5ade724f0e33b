/*
 * load LIBRARY ROUNDS: the CPU time from dlopen(3) to the outcome of the first handoff, of a process that did not have
 * the library before. Prints a JSON record. A session's other end is a process that was there already.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <rp_handoff.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(int met, const char *what) {
    if (!met) {
        fprintf(stderr, "load: %s\n", what);
        _exit(1);
    }
}

/* A function of the library; POSIX lets a pointer to data hold one. */
#define FUNCTION(library, name)                                                                                        \
    __typeof__(name) *name##_;                                                                                         \
    *(void **)&name##_ = dlsym(library, #name);                                                                        \
    must(name##_ != NULL, #name)

static void be_backend(const char *path, int fd) {
    rp_handoff_session_options options = {.struct_size = sizeof options, .connection_fd = fd};
    rp_handoff_event event = {.struct_size = sizeof event};
    rp_handoff_session *session;
    int32_t adopted;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    must(library != NULL, "dlopen");
    FUNCTION(library, rp_handoff_session_create_backend);
    FUNCTION(library, rp_handoff_session_wait);
    FUNCTION(library, rp_handoff_session_next_event);
    FUNCTION(library, rp_handoff_offer_accept);
    must(rp_handoff_session_create_backend_(&options, &session, NULL) == RP_HANDOFF_OK, "receive a session");
    while (rp_handoff_session_wait_(session, RP_HANDOFF_FOREVER) == 1)
        while (rp_handoff_session_next_event_(session, &event, NULL) == 1)
            if (event.kind == RP_HANDOFF_EVENT_OFFER)
                must(rp_handoff_offer_accept_(event.offer, &adopted) == RP_HANDOFF_OK, "accept");
}

static uint64_t cpu_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t load_and_hand_over(const char *path, int fd) {
    rp_handoff_session_options options = {.struct_size = sizeof options, .connection_fd = fd};
    rp_handoff_submission submission = {.struct_size = sizeof submission, .fd = STDIN_FILENO};
    rp_handoff_outcome outcome = {.struct_size = sizeof outcome};
    rp_handoff_broker *broker;
    rp_handoff_session *session;
    const uint64_t start = cpu_ns();
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    must(library != NULL, "dlopen");
    FUNCTION(library, rp_handoff_broker_create);
    FUNCTION(library, rp_handoff_session_create_broker);
    FUNCTION(library, rp_handoff_session_execute);
    must(rp_handoff_broker_create_(NULL, &broker, NULL) == RP_HANDOFF_OK, "create a broker");
    must(rp_handoff_session_create_broker_(broker, &options, &session, NULL) == RP_HANDOFF_OK, "open a session");
    must(rp_handoff_session_execute_(session, &submission, &outcome, NULL) == RP_HANDOFF_OK, "execute");
    must(outcome.result == RP_HANDOFF_COMPLETED, "a completed handoff");
    return cpu_ns() - start;
}

/* In processes of its own, since this one must never have the library. */
static uint64_t one_round(const char *path) {
    int session[2], report[2], status;
    uint64_t used = 0;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, session) == 0 && pipe(report) == 0, "socketpair, pipe");
    const pid_t backend = fork();
    if (backend == 0) {
        close(session[0]);
        be_backend(path, session[1]);
        _exit(0);
    }
    const pid_t broker = fork();
    if (broker == 0) {
        close(session[1]);
        used = load_and_hand_over(path, session[0]);
        must(write(report[1], &used, sizeof used) == sizeof used, "report");
        _exit(0);
    }
    close(session[0]);
    close(session[1]);
    close(report[1]);
    must(read(report[0], &used, sizeof used) == sizeof used, "a report");
    close(report[0]);
    must(waitpid(broker, &status, 0) == broker && waitpid(backend, &status, 0) == backend && status == 0, "the end");
    return used;
}

int main(int argc, char **argv) {
    const int rounds = argc == 3 ? atoi(argv[2]) : 0;
    must(rounds > 0, "usage: load LIBRARY ROUNDS");
    printf("{\"row\": \"dlopen and first handoff\", \"cpu_ns\": [");
    fflush(stdout);
    for (int i = 0; i < rounds; i++)
        printf("%s%" PRIu64, i > 0 ? ", " : "", one_round(argv[1]));
    printf("]}\n");
    return 0;
}
