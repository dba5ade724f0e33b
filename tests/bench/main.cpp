// bench SCENARIO [--rounds N] [--samples N]: measures one family of rows, and prints JSON records, one on each line.
// tests/bench/run runs them all and says what they amount to.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <getopt.h>

#include "scenarios.hpp"

namespace {

using namespace rp::bench;

struct Scenario {
    const char *name;
    void (*run)(const Settings &settings);
};
constexpr Scenario scenarios[] = {
    {"blocking", blocking},     {"pipelined", pipelined}, {"batches", batches}, {"view-tcp", view_tcp},
    {"view-local", view_local}, {"door", door},           {"failing", failing}, {"dying", dying},
};

int complain() {
    std::fprintf(stderr, "usage: bench SCENARIO [--rounds N] [--samples N]\nscenarios:");
    for (const Scenario &scenario : scenarios) {
        std::fprintf(stderr, " %s", scenario.name);
    }
    std::fprintf(stderr, "\n");
    return 2;
}

std::uint32_t number(const char *text) {
    const long value = std::atol(text);
    return value > 0 && value <= 1000000 ? static_cast<std::uint32_t>(value) : 0;
}

bool parse(Settings &settings, int argc, char **argv) {
    const option options[] = {{"rounds", required_argument, nullptr, 'r'},
                              {"samples", required_argument, nullptr, 's'},
                              {nullptr, 0, nullptr, 0}};
    for (int given = 0; (given = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
        switch (given) {
        case 'r':
            settings.rounds = number(optarg);
            break;
        case 's':
            settings.samples = number(optarg);
            break;
        default:
            return false;
        }
    }
    return optind == argc - 1 && settings.rounds > 0 && settings.samples > 0;
}

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    if (!parse(settings, argc, argv)) {
        return complain();
    }
    std::signal(SIGPIPE, SIG_IGN);
    for (const Scenario &scenario : scenarios) {
        if (std::strcmp(scenario.name, argv[optind]) == 0) {
            scenario.run(settings);
            return 0;
        }
    }
    return complain();
}
