#include "rp_ours.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: rp-ours send       --socket PATH --target HOST:PORT|unix:PATH [--service S] [--correlation N]\n"
    "                          [--timeout-ms N] [--count N]\n"
    "       rp-ours backend    --listen PATH [--mode MODE] [--session] [--delay-ms N] [--count N] [--timeout-ms N]\n"
    "       rp-ours client     --broker PATH --service S --version V [--adopt] [--ready-timeout-ms N]\n"
    "                          [--self-version V] [--cached PATH] [--timeout-ms N]\n"
    "       rp-ours watch      --broker PATH --service S --version V [--timeout-ms N]\n"
    "       rp-ours front-door --listen PATH --service S --version V --backend-endpoint PATH\n"
    "                          [--handoff-endpoint PATH] [--session] [--allow VERSION] [--disabled]\n"
    "                          [--adopted-backend] [--starve] [--hang-up N] [--threads N] [--count N] [--timeout-ms "
    "N]\n"
    "backend modes: accept refuse silent hold close wrong-token wrong-correlation wrong-ids wrong-request-id\n"
    "               wrong-kind wrong-protocol malformed bad-framing; with --session: accept refuse hold greet\n"
    "--starve leaves the first visit without descriptors, --hang-up ends the first N without a reply.\n";

static const struct side {
    const char *name;
    int (*run)(const struct options *options);
} sides[] = {{"send", run_send},
             {"backend", run_backend},
             {"client", run_client},
             {"watch", run_watch},
             {"front-door", run_front_door}};

enum {
    is_path = 'a',
    is_target,
    is_mode,
    is_service,
    is_version,
    is_own_version,
    is_cached,
    is_backend_endpoint,
    is_handoff_endpoint,
    is_allowed,
    is_correlation,
    is_timeout,
    is_ready_timeout,
    is_delay,
    is_count,
    is_hang_up,
    is_threads
};

static int fail(void) {
    fputs(usage, stderr);
    return 2;
}

static int parse_text(struct options *options, int option) {
    const char **const texts[] = {&options->path,           &options->target,           &options->mode,
                                  &options->service,        &options->version,          &options->own_version,
                                  &options->cached,         &options->backend_endpoint, &options->handoff_endpoint,
                                  &options->allowed_version};
    if (option < is_path || option > is_allowed)
        return 0;
    *texts[option - is_path] = optarg;
    return 1;
}

static int parse_number(struct options *options, int option) {
    int *const numbers[] = {&options->timeout_ms, &options->ready_timeout_ms, &options->delay_ms,
                            &options->count,      &options->hang_up,          &options->threads};
    if (option == is_correlation)
        options->correlation = strtoull(optarg, NULL, 10);
    else if (option >= is_timeout && option <= is_threads)
        *numbers[option - is_timeout] = atoi(optarg);
    else
        return 0;
    return 1;
}

static int parse(struct options *options, int argc, char **argv) {
    const struct option long_options[] = {
        {"socket", required_argument, NULL, is_path},
        {"listen", required_argument, NULL, is_path},
        {"broker", required_argument, NULL, is_path},
        {"target", required_argument, NULL, is_target},
        {"mode", required_argument, NULL, is_mode},
        {"service", required_argument, NULL, is_service},
        {"version", required_argument, NULL, is_version},
        {"self-version", required_argument, NULL, is_own_version},
        {"cached", required_argument, NULL, is_cached},
        {"backend-endpoint", required_argument, NULL, is_backend_endpoint},
        {"handoff-endpoint", required_argument, NULL, is_handoff_endpoint},
        {"allow", required_argument, NULL, is_allowed},
        {"correlation", required_argument, NULL, is_correlation},
        {"timeout-ms", required_argument, NULL, is_timeout},
        {"ready-timeout-ms", required_argument, NULL, is_ready_timeout},
        {"delay-ms", required_argument, NULL, is_delay},
        {"count", required_argument, NULL, is_count},
        {"hang-up", required_argument, NULL, is_hang_up},
        {"threads", required_argument, NULL, is_threads},
        {"adopt", no_argument, &options->adopt, 1},
        {"disabled", no_argument, &options->disabled, 1},
        {"adopted-backend", no_argument, &options->adopted_backend, 1},
        {"starve", no_argument, &options->starve, 1},
        {"session", no_argument, &options->session, 1},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (option != 0 && !parse_text(options, option) && !parse_number(options, option))
            return 0;
    return optind == argc && options->path != NULL;
}

int main(int argc, char **argv) {
    struct options options = {
        .mode = "accept", .service = "rp-ours", .version = "1.0.0", .timeout_ms = 5000, .count = 1, .threads = 1};
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2 || !parse(&options, argc - 1, argv + 1))
        return fail();
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        if (strcmp(argv[1], sides[i].name) == 0)
            return sides[i].run(&options);
    return fail();
}
