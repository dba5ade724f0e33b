// uv ROUNDS SAMPLES: libuv's uv_write2, which passes a connected TCP socket to another process; a byte that comes back
// tells that the other side took it. Against one blocking handoff over a session, in turns. Prints a JSON record.
#include <cstdlib>
#include <uv.h>

#include "../process.hpp"
#include "../sessions.hpp"

namespace {

using namespace rp::bench;

template <class Handle>
uv_stream_t *stream(Handle &handle) {
    return reinterpret_cast<uv_stream_t *>(&handle);
}

void provide(uv_handle_t *, std::size_t, uv_buf_t *buffer) {
    static char bytes[256];
    *buffer = uv_buf_init(bytes, sizeof bytes);
}

class Taker {
  public:
    explicit Taker(Fd end) {
        must(uv_loop_init(&loop_) == 0 && uv_pipe_init(&loop_, &pipe_, 1) == 0 &&
                 uv_pipe_open(&pipe_, end.release()) == 0 && uv_read_start(stream(pipe_), provide, take) == 0,
             "a libuv pipe");
    }
    void run() { uv_run(&loop_, UV_RUN_DEFAULT); }

  private:
    static void take(uv_stream_t *pipe, ssize_t size, const uv_buf_t *) {
        must(size > 0, "read of libuv");
        while (uv_pipe_pending_count(reinterpret_cast<uv_pipe_t *>(pipe)) > 0) {
            auto *taken = new uv_tcp_t;
            must(uv_tcp_init(pipe->loop, taken) == 0 && uv_accept(pipe, stream(*taken)) == 0, "uv_accept");
            uv_close(reinterpret_cast<uv_handle_t *>(taken),
                     [](uv_handle_t *handle) { delete reinterpret_cast<uv_tcp_t *>(handle); });
            char byte = 0;
            const uv_buf_t answer = uv_buf_init(&byte, 1);
            must(uv_try_write(pipe, &answer, 1) == 1, "uv_try_write");
        }
    }

    uv_loop_t loop_{};
    uv_pipe_t pipe_{};
};

class Giver {
  public:
    Giver(Fd end, int connection) {
        must(uv_loop_init(&loop_) == 0 && uv_pipe_init(&loop_, &pipe_, 1) == 0 &&
                 uv_pipe_open(&pipe_, end.release()) == 0 && uv_tcp_init(&loop_, &tcp_) == 0 &&
                 uv_tcp_open(&tcp_, dup(connection)) == 0 && uv_read_start(stream(pipe_), provide, answered) == 0,
             "a libuv pipe");
    }

    void hand_over() {
        char byte = 0;
        uv_write_t request;
        const uv_buf_t message = uv_buf_init(&byte, 1);
        must(uv_write2(&request, stream(pipe_), &message, 1, stream(tcp_), nullptr) == 0, "uv_write2");
        uv_run(&loop_, UV_RUN_DEFAULT);
    }

  private:
    static void answered(uv_stream_t *pipe, ssize_t size, const uv_buf_t *) {
        must(size == 1, "an answer by libuv");
        uv_stop(pipe->loop);
    }

    uv_loop_t loop_{};
    uv_pipe_t pipe_{};
    uv_tcp_t tcp_{};
};

template <class Handoff>
void run_block(Side &side, std::uint32_t count, CpuMeter &cpu, Handoff handoff) {
    cpu.lap();
    for (std::uint32_t i = 0; i < count; i++) {
        const std::uint64_t start = now_ns();
        handoff();
        side.add(now_ns() - start);
    }
    side.add_cpu(cpu.lap());
}

void run(const Settings &settings) {
    Pair wire;
    Pair uv_wire;
    const Connection connection;
    const Process backend([&] {
        const Session session = backend_session(std::move(wire.b));
        serve_offers(session.get(), UINT64_MAX, [](Fd) {});
    });
    const Process taker([&] { Taker(std::move(uv_wire.b)).run(); });
    const Broker broker = make_broker();
    const Session session = broker_session(broker.get(), std::move(wire.a));
    Giver giver(std::move(uv_wire.a), connection.server.get());
    CpuMeter cpu({0, backend.pid()});
    CpuMeter uv_cpu({0, taker.pid()});
    Side ours("session, from C");
    Side uv("libuv uv_write2");
    for (std::uint32_t round = 0; round <= settings.rounds; round++) {
        run_block(ours, settings.samples, cpu, [&] { execute(session.get(), connection.server.get()); });
        run_block(uv, settings.samples, uv_cpu, [&] { giver.hand_over(); });
        for (Side *side : {&ours, &uv}) {
            round == 0 ? side->forget() : side->end_round(); // the first one warms up
        }
    }
    print_record("peers", settings, ours, uv);
}

} // namespace

int main(int argc, char **argv) {
    Settings settings;
    must(argc == 3, "usage: uv ROUNDS SAMPLES");
    settings.rounds = static_cast<std::uint32_t>(std::atoi(argv[1]));
    settings.samples = static_cast<std::uint32_t>(std::atoi(argv[2]));
    must(settings.rounds > 0 && settings.samples > 0, "usage: uv ROUNDS SAMPLES");
    run(settings);
    return 0;
}
