/* Loads the library, hands connections over with it, without and with a session, unloads it; everything twice. Between the two nothing of it is mapped
 * and no descriptor of it is open. Argument: the library. Knows the header's types, and links nothing of it. */
#include <dirent.h>
#include <dlfcn.h>
#include <rp_handoff.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int ok, const char *what) {
    if (!ok) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

struct api {
    void *library;
    uint32_t (*version)(void);
    int32_t (*broker_create)(const rp_handoff_broker_options *, rp_handoff_broker **, rp_handoff_error *);
    int32_t (*broker_issue)(rp_handoff_broker *, const char *, uint32_t, rp_handoff_token *);
    int32_t (*broker_execute)(rp_handoff_broker *, const rp_handoff_request *, rp_handoff_outcome *,
                              rp_handoff_error *);
    void (*broker_destroy)(rp_handoff_broker *);
    int32_t (*backend_create)(const rp_handoff_backend_options *, rp_handoff_backend **, rp_handoff_error *);
    int32_t (*backend_add_connection)(rp_handoff_backend *, int32_t, int32_t);
    int32_t (*backend_next_offer)(rp_handoff_backend *, uint64_t, rp_handoff_offer **);
    void (*backend_destroy)(rp_handoff_backend *);
    int32_t (*offer_accept)(rp_handoff_offer *, int32_t *);
    void (*offer_destroy)(rp_handoff_offer *);
    int32_t (*session_create_broker)(rp_handoff_broker *, const rp_handoff_session_options *, rp_handoff_session **,
                                     rp_handoff_error *);
    int32_t (*session_create_backend)(const rp_handoff_session_options *, rp_handoff_session **, rp_handoff_error *);
    int32_t (*session_execute)(rp_handoff_session *, const rp_handoff_submission *, rp_handoff_outcome *,
                               rp_handoff_error *);
    int32_t (*session_wait)(rp_handoff_session *, uint64_t);
    int32_t (*session_next_event)(rp_handoff_session *, rp_handoff_event *, rp_handoff_outcome *);
    void (*session_destroy)(rp_handoff_session *);
};

/* ISO C knows no way from an object's pointer to a function's; POSIX says that their representation is the same. */
static void find(const struct api *api, const char *name, void *function) {
    void *const symbol = dlsym(api->library, name);
    check(symbol != NULL, name);
    memcpy(function, &symbol, sizeof symbol);
}

static void load(struct api *api, const char *path) {
    api->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    check(api->library != NULL, "dlopen");
    find(api, "rp_handoff_version", &api->version);
    find(api, "rp_handoff_broker_create", &api->broker_create);
    find(api, "rp_handoff_broker_issue", &api->broker_issue);
    find(api, "rp_handoff_broker_execute", &api->broker_execute);
    find(api, "rp_handoff_broker_destroy", &api->broker_destroy);
    find(api, "rp_handoff_backend_create", &api->backend_create);
    find(api, "rp_handoff_backend_add_connection", &api->backend_add_connection);
    find(api, "rp_handoff_backend_next_offer", &api->backend_next_offer);
    find(api, "rp_handoff_backend_destroy", &api->backend_destroy);
    find(api, "rp_handoff_offer_accept", &api->offer_accept);
    find(api, "rp_handoff_offer_destroy", &api->offer_destroy);
    find(api, "rp_handoff_session_create_broker", &api->session_create_broker);
    find(api, "rp_handoff_session_create_backend", &api->session_create_backend);
    find(api, "rp_handoff_session_execute", &api->session_execute);
    find(api, "rp_handoff_session_wait", &api->session_wait);
    find(api, "rp_handoff_session_next_event", &api->session_next_event);
    find(api, "rp_handoff_session_destroy", &api->session_destroy);
    check(api->version() ==
              RP_HANDOFF_VERSION_MAJOR * 1000000U + RP_HANDOFF_VERSION_MINOR * 1000U + RP_HANDOFF_VERSION_PATCH,
          "the header's version");
}

static void adopt(const struct api *api, rp_handoff_offer *offer) {
    int32_t client = -1;
    check(api->offer_accept(offer, &client) == RP_HANDOFF_OK, "accept");
    check(write(client, "served", 6) == 6, "serve");
    close(client);
    api->offer_destroy(offer);
}

static void serve(const struct api *api, int connection) {
    rp_handoff_backend *backend = NULL;
    rp_handoff_offer *offer = NULL;
    check(api->backend_create(NULL, &backend, NULL) == RP_HANDOFF_OK, "create a backend");
    check(api->backend_add_connection(backend, connection, RP_HANDOFF_TRUST_CALLER) == RP_HANDOFF_OK, "add");
    check(api->backend_next_offer(backend, RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK, "next offer");
    adopt(api, offer);
    api->backend_destroy(backend);
}

static void hand_over(const struct api *api, int connection, int fd) {
    rp_handoff_broker *broker = NULL;
    rp_handoff_request request;
    rp_handoff_outcome outcome;
    memset(&request, 0, sizeof request);
    memset(&outcome, 0, sizeof outcome);
    request.struct_size = sizeof request;
    outcome.struct_size = sizeof outcome;
    request.fd = fd;
    request.connection_fd = connection;
    request.connection_trust = RP_HANDOFF_TRUST_CALLER;
    check(api->broker_create(NULL, &broker, NULL) == RP_HANDOFF_OK, "create a broker");
    check(api->broker_issue(broker, "dlopen", 0, &request.token) == RP_HANDOFF_OK, "issue");
    check(api->broker_execute(broker, &request, &outcome, NULL) == RP_HANDOFF_OK, "execute");
    check(outcome.result == RP_HANDOFF_COMPLETED, outcome.detail);
    api->broker_destroy(broker);
}

static void serve_session(const struct api *api, int connection) {
    rp_handoff_session *session = NULL;
    rp_handoff_session_options options;
    rp_handoff_event event;
    memset(&options, 0, sizeof options);
    memset(&event, 0, sizeof event);
    options.struct_size = sizeof options;
    event.struct_size = sizeof event;
    options.connection_fd = connection;
    check(api->session_create_backend(&options, &session, NULL) == RP_HANDOFF_OK, "receive");
    while (event.kind != RP_HANDOFF_EVENT_CLOSED) {
        check(api->session_wait(session, RP_HANDOFF_FOREVER) == 1, "wait");
        while (api->session_next_event(session, &event, NULL) == 1) {
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                adopt(api, event.offer);
            }
        }
    }
    api->session_destroy(session);
}

static void hand_over_in_session(const struct api *api, int connection, int fd) {
    rp_handoff_broker *broker = NULL;
    rp_handoff_session *session = NULL;
    rp_handoff_session_options options;
    rp_handoff_submission submission;
    rp_handoff_outcome outcome;
    memset(&options, 0, sizeof options);
    memset(&submission, 0, sizeof submission);
    memset(&outcome, 0, sizeof outcome);
    options.struct_size = sizeof options;
    submission.struct_size = sizeof submission;
    outcome.struct_size = sizeof outcome;
    options.connection_fd = connection;
    submission.fd = fd;
    check(api->broker_create(NULL, &broker, NULL) == RP_HANDOFF_OK, "create a broker");
    check(api->session_create_broker(broker, &options, &session, NULL) == RP_HANDOFF_OK, "open");
    check(api->session_execute(session, &submission, &outcome, NULL) == RP_HANDOFF_OK, "execute");
    check(outcome.result == RP_HANDOFF_COMPLETED, outcome.detail);
    api->session_destroy(session);
    api->broker_destroy(broker);
}

static void use(const struct api *api, int with_session) {
    int control[2];
    int client[2];
    char answer[7] = "";
    int status = 0;
    pid_t child;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, control) == 0, "socketpair");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, client) == 0, "socketpair");
    child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        close(control[0]);
        close(client[0]);
        close(client[1]);
        if (with_session) {
            serve_session(api, control[1]);
        } else {
            serve(api, control[1]);
        }
        check(dlclose(api->library) == 0, "dlclose in the backend");
        exit(0);
    }
    close(control[1]);
    if (with_session) {
        hand_over_in_session(api, control[0], client[1]); /* takes the control socket */
    } else {
        hand_over(api, control[0], client[1]);
        close(control[0]);
    }
    close(client[1]);
    check(recv(client[0], answer, 6, MSG_WAITALL) == 6 && strcmp(answer, "served") == 0, "the backend's bytes");
    close(client[0]);
    check(waitpid(child, &status, 0) == child && status == 0, "end of the backend");
}

static int is_mapped(void) {
    char line[4096];
    int found = 0;
    FILE *const maps = fopen("/proc/self/maps", "r");
    check(maps != NULL, "/proc/self/maps");
    while (fgets(line, sizeof line, maps) != NULL) {
        found = found || strstr(line, "librp_handoff") != NULL;
    }
    fclose(maps);
    return found;
}

static int open_descriptors(void) {
    int count = 0;
    DIR *const directory = opendir("/proc/self/fd");
    check(directory != NULL, "/proc/self/fd");
    while (readdir(directory) != NULL) {
        ++count;
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv) {
    struct api api;
    int round;
    check(argc == 2, "one argument");
    for (round = 0; round < 2; ++round) {
        const int before = open_descriptors();
        check(!is_mapped(), "nothing is mapped before");
        load(&api, argv[1]);
        check(is_mapped(), "the library is mapped");
        use(&api, 0);
        use(&api, 1);
        check(dlclose(api.library) == 0, "dlclose");
        check(!is_mapped(), "nothing stays mapped");
        check(open_descriptors() == before, "no descriptor stays open");
    }
    printf("loaded, used and unloaded twice\n");
    return 0;
}
