// The main of every doctest program here: runs each test case in a process of its own.
//
// A case passes if its assertions hold, it left exactly the descriptors open that it found, and it ended by itself
// before the watchdog. It may therefore kill, fork, change limits, user and signal handlers. Its children die with it.
// Arguments: parts of names, of which a case must contain one; --list lists; --timeout SECONDS; --no-fork runs all in
// this process, for debuggers. The environment's TEST_SUITE_LEFT_OUT names a doctest suite of which no case is run. The
// last line is "N passed, N failed"; the exit status is 1 if any failed, 2 if none ran.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "support/descriptors.hpp"

namespace {

std::vector<std::string> names;

bool is_left_out(const char *suite) {
    const char *left_out = std::getenv("TEST_SUITE_LEFT_OUT");
    return left_out != nullptr && suite != nullptr && std::string(suite) == left_out;
}

// Collects the names of all cases from doctest's own listing.
struct Lister : doctest::IReporter {
    explicit Lister(const doctest::ContextOptions &) {}
    void report_query(const doctest::QueryData &query) override {
        for (unsigned i = 0; i < query.num_data; ++i) {
            if (!is_left_out(query.data[i]->m_test_suite)) {
                names.emplace_back(query.data[i]->m_name);
            }
        }
    }
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats &) override {}
    void test_case_start(const doctest::TestCaseData &) override {}
    void test_case_reenter(const doctest::TestCaseData &) override {}
    void test_case_end(const doctest::CurrentTestCaseStats &) override {}
    void test_case_exception(const doctest::TestCaseException &) override {}
    void subcase_start(const doctest::SubcaseSignature &) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData &) override {}
    void log_message(const doctest::MessageData &) override {}
    void test_case_skipped(const doctest::TestCaseData &) override {}
};
REGISTER_REPORTER("lister", 1, Lister);

void list_names() {
    const char *const arguments[] = {"", "--reporters=lister", "--list-test-cases"};
    doctest::Context context;
    context.applyCommandLine(3, arguments);
    context.run();
}

// A filter of doctest's is a list with commas.
std::string as_filter(const std::string &name) {
    std::string escaped;
    for (const char c : name) {
        escaped += c == ',' ? "\\," : std::string(1, c);
    }
    return escaped;
}

int run_here(const std::string &name) {
    doctest::Context context;
    context.setOption("no-intro", true);
    context.setOption("no-version", true);
    context.setOption("minimal", true);
    context.addFilter("test-case", as_filter(name).c_str());
    const auto before = rp::test::open_descriptors();
    int failed = context.run();
    const auto after = rp::test::open_descriptors();
    if (before != after) {
        std::printf("descriptors before: %s\ndescriptors after:  %s\n", rp::test::describe(before).c_str(),
                    rp::test::describe(after).c_str());
        failed = 1;
    }
    std::fflush(nullptr);
    return failed;
}

// Its own process group, so that whatever it started can be ended with it.
bool run_in_child(const std::string &name, unsigned timeout) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(timeout);
        std::exit(run_here(name)); // exit, not _exit: the leak checker runs there
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0) {
    }
    kill(-child, SIGKILL);
    const bool passed = child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (WIFSIGNALED(status)) {
        const int signal = WTERMSIG(status);
        std::printf("ended by signal %d%s\n", signal, signal == SIGALRM ? ": the watchdog" : "");
    }
    return passed;
}

struct Options {
    std::vector<std::string> parts;
    unsigned timeout = 60;
    bool list = false;
    bool fork = true;
};

Options parse(int argc, char **argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument == "--list") {
            options.list = true;
        } else if (argument == "--no-fork") {
            options.fork = false;
        } else if (argument == "--timeout" && i + 1 < argc) {
            options.timeout = static_cast<unsigned>(std::atoi(argv[++i]));
        } else {
            options.parts.push_back(argument);
        }
    }
    return options;
}

bool is_wanted(const std::string &name, const std::vector<std::string> &parts) {
    return parts.empty() || std::any_of(parts.begin(), parts.end(), [&name](const std::string &part) {
               return name.find(part) != std::string::npos;
           });
}

} // namespace

int main(int argc, char **argv) {
    mallopt(M_PERTURB, 0x33); // not a value by chance, which may be the secret that a case looks for in memory
    const Options options = parse(argc, argv);
    list_names();
    int passed = 0;
    int failed = 0;
    for (const std::string &name : names) {
        if (!is_wanted(name, options.parts)) {
            continue;
        }
        if (options.list) {
            std::printf("%s\n", name.c_str());
            continue;
        }
        const bool ok = options.fork ? run_in_child(name, options.timeout) : run_here(name) == 0;
        (ok ? passed : failed) += 1;
        if (!ok) {
            std::printf("FAILED: %s\n", name.c_str());
        }
    }
    if (!options.list) {
        std::printf("%d passed, %d failed\n", passed, failed);
    }
    return failed > 0 ? 1 : passed > 0 || options.list ? 0 : 2;
}
