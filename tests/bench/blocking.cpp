// One blocking handoff, offer to outcome, between two processes: this one is the broker. Ours and the bare loop take
// turns, a block each, so that whatever disturbs the machine disturbs both.
#include "bare.hpp"
#include "process.hpp"
#include "scenarios.hpp"
#include "sessions.hpp"

namespace rp::bench {

namespace {

constexpr std::uint32_t block = 50;

struct Wires {
    Pair session;
    Pair bare;
};

void be_backend(const Wires &wires, Fd session_end, const MessageSizes &sizes) {
    const Session session = backend_session(std::move(session_end));
    std::vector<char> offer(sizes.offers);
    const std::vector<char> answer(sizes.answers);
    for (;;) {
        serve_offers(session.get(), block, [](Fd) {});
        for (std::uint32_t i = 0; i < block; i++) {
            take_descriptors(wires.bare.b.get(), 1, offer);
            send_all(wires.bare.b.get(), answer.data(), answer.size());
        }
    }
}

template <class Handoff>
void run_block(Side &side, CpuMeter &cpu, Handoff handoff) {
    cpu.lap();
    for (std::uint32_t i = 0; i < block; i++) {
        const std::uint64_t start = now_ns();
        handoff();
        side.add(now_ns() - start);
    }
    side.add_cpu(cpu.lap());
}

} // namespace

void blocking(const Settings &settings) {
    const MessageSizes sizes = message_sizes(1);
    Wires wires;
    const Connection connection;
    const Process backend([&] { be_backend(wires, std::move(wires.session.b), sizes); });
    const Broker broker = make_broker();
    const Session session = broker_session(broker.get(), std::move(wires.session.a));
    CpuMeter cpu({0, backend.pid()});
    Side ours("session");
    Side bare("bare loop");
    const std::vector<char> offer(sizes.offers);
    std::vector<char> answer(sizes.answers);
    const int fd = connection.server.get();
    const auto turn = [&] {
        run_block(ours, cpu, [&] { execute(session.get(), fd); });
        run_block(bare, cpu, [&] {
            send_descriptors(wires.bare.a.get(), &fd, 1, offer);
            receive_all(wires.bare.a.get(), answer.data(), answer.size());
        });
    };
    turn();
    ours.forget();
    bare.forget();
    for (std::uint32_t round = 0; round < settings.rounds; round++) {
        for (std::uint32_t done = 0; done < settings.samples; done += block) {
            turn();
        }
        ours.end_round();
        bare.end_round();
    }
    print_record("blocking", settings, ours, bare);
}

} // namespace rp::bench
