// Many handoffs in flight: a window of them with one in each message, or a batch of them in one message. This process is
// the broker. Each connection is a dup(2), made and closed by whoever hands it over, in ours as in the bare loop.
#include <algorithm>

#include "bare.hpp"
#include "process.hpp"
#include "scenarios.hpp"
#include "sessions.hpp"

namespace rp::bench {

namespace {

struct Wires {
    Pair session;
    Pair bare;
};

// Of every round: first `total` over the session, then as many over the bare loop.
void be_backend(const Wires &wires, Fd session_end, Shape shape, const MessageSizes &sizes, std::uint32_t total) {
    const Session session = backend_session(std::move(session_end));
    std::vector<char> offers(sizes.offers);
    const std::vector<char> answers(sizes.answers);
    for (;;) {
        serve_offers(session.get(), total, [](Fd) {});
        for (std::uint32_t done = 0; done < total; done += shape.per_message) {
            take_descriptors(wires.bare.b.get(), shape.per_message, offers);
            send_all(wires.bare.b.get(), answers.data(), answers.size());
        }
    }
}

void hand_over_by_bare_loop(int socket, int fd, Shape shape, const MessageSizes &sizes, std::uint32_t total) {
    const std::vector<char> offers(sizes.offers);
    std::vector<char> answers(sizes.answers);
    std::vector<int> unanswered(shape.in_flight); // a ring, as messages are answered in their order
    const auto of_message = [&](std::uint32_t number) { return unanswered.begin() + number % shape.in_flight; };
    std::uint32_t sent = 0;
    for (std::uint32_t done = 0; done < total; done += shape.per_message) {
        for (; sent < total && sent + shape.per_message <= done + shape.in_flight; sent += shape.per_message) {
            const auto fds = of_message(sent);
            std::generate_n(fds, shape.per_message, [fd] { return dup(fd); });
            send_descriptors(socket, &*fds, shape.per_message, offers);
        }
        receive_all(socket, answers.data(), answers.size());
        std::for_each_n(of_message(done), shape.per_message, close);
    }
}

template <class Run>
void run_round(Side &side, CpuMeter &cpu, std::uint32_t total, Run run) {
    cpu.lap();
    const std::uint64_t start = now_ns();
    run();
    const std::uint64_t elapsed = now_ns() - start;
    side.add_cpu(cpu.lap());
    side.end_round_of(total, elapsed);
}

void compare(const std::string &row, const Settings &settings, Shape shape) {
    const std::uint32_t total = settings.samples / shape.in_flight * shape.in_flight + shape.in_flight;
    const MessageSizes sizes = message_sizes(shape.per_message);
    Wires wires;
    const Connection connection;
    const Process backend([&] { be_backend(wires, std::move(wires.session.b), shape, sizes, total); });
    const Broker broker = make_broker();
    const Session session = broker_session(broker.get(), std::move(wires.session.a));
    Pipeline pipeline(session.get(), connection.server.get(), shape);
    CpuMeter cpu({0, backend.pid()});
    Side ours("session");
    Side bare("bare loop");
    for (std::uint32_t round = 0; round < settings.rounds; round++) {
        run_round(ours, cpu, total, [&] { pipeline.hand_over(total); });
        run_round(bare, cpu, total,
                  [&] { hand_over_by_bare_loop(wires.bare.a.get(), connection.server.get(), shape, sizes, total); });
    }
    print_record(row, settings, ours, bare);
}

} // namespace

void pipelined(const Settings &settings) {
    compare("pipelined", settings, {32, 1});
}

void batches(const Settings &settings) {
    for (const std::uint32_t size : {16U, 64U, 252U}) {
        compare("batches of " + std::to_string(size), settings, {size, size});
    }
}

} // namespace rp::bench
