// steady SHAPE: what a handoff costs once everything is warm, counted, not timed. Prints the heap allocations of both
// processes as a JSON record. A run under strace(1) tells the system calls: those of the steady part lie between two
// writes to a descriptor that cannot be, "broker begins" and "broker ends", and likewise of the backend.
#include <cstdio>
#include <cstring>
#include <sys/mman.h>

#include "allocations.hpp"
#include "process.hpp"
#include "sessions.hpp"

namespace {

using namespace rp::bench;

constexpr std::uint32_t warmup = 4032; // this and the next are whole batches of every size
constexpr std::uint32_t handoffs = 8064;

struct Named {
    const char *name;
    Shape shape;
};
constexpr Named shapes[] = {
    {"blocking", {1, 1}},        {"pipelined", {32, 1}},         {"batches of 16", {16, 16}},
    {"batches of 64", {64, 64}}, {"batches of 252", {252, 252}},
};

void mark(const char *text) {
    must(write(-1, text, std::strlen(text)) < 0, "a mark for strace");
}

template <class Run>
std::uint64_t allocations_of(const char *begins, const char *ends, Run run) {
    mark(begins);
    const std::uint64_t before = allocations();
    run();
    const std::uint64_t after = allocations();
    mark(ends);
    return after - before;
}

std::uint64_t be_backend(Fd end) {
    const Session session = backend_session(std::move(end));
    serve_offers(session.get(), warmup, [](Fd) {});
    return allocations_of("backend begins", "backend ends", [&] { serve_offers(session.get(), handoffs, [](Fd) {}); });
}

std::uint64_t be_broker(Fd end, Shape shape) {
    const Connection connection;
    const Broker broker = make_broker();
    const Session session = broker_session(broker.get(), std::move(end));
    Pipeline pipeline(session.get(), connection.server.get(), shape);
    const auto hand_over = [&](std::uint32_t total) {
        if (shape.in_flight > 1) {
            pipeline.hand_over(total);
            return;
        }
        for (std::uint32_t i = 0; i < total; i++) {
            execute(session.get(), connection.server.get());
        }
    };
    hand_over(warmup);
    return allocations_of("broker begins", "broker ends", [&] { hand_over(handoffs); });
}

void count(const Named &named) {
    void *page = mmap(nullptr, sizeof(std::uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(page != MAP_FAILED, "mmap");
    auto *of_backend = static_cast<std::uint64_t *>(page);
    Pair pair;
    Process backend([&] { *of_backend = be_backend(std::move(pair.b)); });
    const std::uint64_t of_broker = be_broker(std::move(pair.a), named.shape);
    backend.wait();
    std::printf(
        "{\"row\": \"allocations\", \"shape\": \"%s\", \"handoffs\": %u, \"broker\": %llu, \"backend\": %llu}\n",
        named.name, handoffs, static_cast<unsigned long long>(of_broker), static_cast<unsigned long long>(*of_backend));
}

} // namespace

int main(int argc, char **argv) {
    for (const Named &named : shapes) {
        if (argc == 2 && std::strcmp(argv[1], named.name) == 0) {
            count(named);
            return 0;
        }
    }
    std::fprintf(stderr, "usage: steady blocking | pipelined | 'batches of 16' | 'batches of 64' | 'batches of 252'\n");
    return 2;
}
