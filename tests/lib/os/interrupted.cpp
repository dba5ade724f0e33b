// Signals: every call that one can interrupt is made again, and what waits does not wait longer for it.
#include <csignal>

#include "base/clock.hpp"
#include "os/descriptor.hpp"
#include "os/endpoint.hpp"
#include "os/poller.hpp"
#include "os/random.hpp"
#include "os/shared_memory.hpp"
#include "os/stream.hpp"
#include "support/interpose.hpp"
#include "support/sockets.hpp"

using namespace rp::test;
namespace os = rp::handoff::os;
using namespace rp::handoff;

namespace {

// A call that the first signal interrupts, and then every second time.
template <class Signature>
class Interrupted;

template <class Returned, class... Arguments>
class Interrupted<Returned(Arguments...)> {
  public:
    explicit Interrupted(SystemCall<Returned(Arguments...)> &call, int interruption = -1)
        : hook_(call, [this, &call, interruption](Arguments... arguments) -> Returned {
              if (++calls_ % 2 == 1) {
                  errno = EINTR;
                  return static_cast<Returned>(interruption);
              }
              return call.real(arguments...);
          }) {}
    ~Interrupted() { CHECK(calls_ >= 2); } // it was called, and again

  private:
    int calls_ = 0;
    Hooked<Returned(Arguments...)> hook_;
};
template <class Signature, class... More>
Interrupted(SystemCall<Signature> &, More...) -> Interrupted<Signature>;

const Bytes word = {1, 2, 3};

ByteView view(const Bytes &bytes) {
    return {bytes.data(), bytes.size()};
}

Instant in_a_second() {
    return after(SystemTime().now(), std::chrono::seconds(1));
}

} // namespace

TEST_CASE("making an endpoint goes on after signals: open, flock, connect") {
    const Directory directory;
    listener_at(directory / "s"); // a stale one, so that it is connected to
    const Interrupted opening(calls::open());
    const Interrupted locking(calls::flock());
    const Interrupted connecting(calls::connect());
    Explanation why;
    CHECK(os::Endpoint::listen((directory / "s").c_str(), why));
}

TEST_CASE("dialling and accepting go on after signals") {
    const Directory directory;
    UniqueFd listener = listener_at(directory / "s");
    const std::string path = directory / "s";
    SystemTime time;
    {
        const Interrupted connecting(calls::connect());
        CHECK(os::dial(path.c_str(), in_a_second(), time));
    }
    {
        const Interrupted connecting(calls::connect());
        CHECK(os::dial_now(path.c_str()).os_error == 0);
    }
    const Interrupted accepting(calls::accept4());
    CHECK(os::accept(listener.get()));
}

TEST_CASE("sending and receiving go on after signals") {
    const SocketPair pair;
    const ClientConnection client;
    const iovec piece{const_cast<std::uint8_t *>(word.data()), word.size()};
    const int fd = client.fd.get();
    SystemTime time;
    std::uint8_t out[8];
    {
        const Interrupted sending(calls::sendmsg());
        CHECK(os::send(pair.a.get(), fd, view(word)).bytes == word.size());
        CHECK(os::send_many(pair.a.get(), &fd, 1, &piece, 1).bytes == word.size());
    }
    {
        const Interrupted sending(calls::send());
        CHECK(os::write_all(pair.a.get(), view(word), in_a_second(), time).status == Status::ok);
        CHECK(os::write_all(pair.a.get(), view(word), in_a_second(), time).status == Status::ok);
    }
    {
        const Interrupted receiving(calls::recvmsg());
        os::Ancillary beside;
        CHECK(os::receive_message(pair.b.get(), out, word.size(), false, beside).bytes == word.size());
        CHECK(os::receive_exactly(pair.b.get(), out, word.size(), in_a_second(), time));
        CHECK(os::read_exactly(pair.b.get(), out, word.size(), in_a_second(), time).status == Status::ok);
    }
    const Interrupted receiving(calls::recv());
    CHECK(os::receive_bytes(pair.b.get(), out, word.size(), false).bytes == word.size());
}

TEST_CASE("waiting, asking for what is ready, and random bytes go on after signals") {
    const SocketPair pair;
    write_all(pair.a.get(), word);
    {
        const Interrupted waiting(calls::ppoll());
        CHECK(SystemTime().wait(pair.b.get(), POLLIN, in_a_second()) == Wait::ready);
    }
    {
        auto poller = os::Poller::create(true);
        REQUIRE(poller);
        REQUIRE(poller->add(pair.b.get(), os::Poller::first_free_id));
        const Interrupted asking(calls::epoll_wait());
        const os::Poller::Ready ready = poller->ready();
        CHECK(ready.count == 1);
        CHECK(ready.os_error == 0);
    }
    const Interrupted asking(calls::getrandom());
    std::uint8_t bytes[16];
    CHECK(os::SystemRandom().fill(bytes, sizeof bytes));
}

TEST_CASE("memory is taken piece by piece, of which a signal costs one at most") {
    constexpr std::size_t megabyte = std::size_t{1024} * 1024;
    constexpr std::size_t size = 2 * megabyte + 4096;
    std::vector<off_t> lengths;
    int calls_made = 0;
    const auto piece = [&](off_t length, auto real) {
        if (++calls_made % 2 == 1) {
            return false;
        }
        lengths.push_back(length);
        return real();
    };
    const Hooked<int(int, int, off_t, off_t)> sealed(calls::fallocate(), [&](int fd, int mode, off_t from,
                                                                             off_t length) {
        return piece(length, [&] { return calls::fallocate().real(fd, mode, from, length) == 0; }) ? 0
                                                                                                   : fails_with(EINTR);
    });
    const Hooked<int(int, off_t, off_t)> unsealed(calls::posix_fallocate(), [&](int fd, off_t from, off_t length) {
        return piece(length, [&] { return calls::posix_fallocate().real(fd, from, length) == 0; }) ? 0 : EINTR;
    });
    const Interrupted sizing(calls::ftruncate());
    const auto file = os::create_shared_file(size);
    REQUIRE(file);
    CHECK(os::check_shared_file(file->get(), size) == Status::ok);
    CHECK(lengths == std::vector<off_t>{megabyte, megabyte, 4096});
    CHECK(calls_made == 6);
}

TEST_CASE("an error that is no signal ends the taking of memory") {
    const Hooked<int(int, int, off_t, off_t)> sealed(calls::fallocate(),
                                                     [](int, int, off_t, off_t) { return fails_with(ENOSPC); });
    const Hooked<int(int, off_t, off_t)> unsealed(calls::posix_fallocate(), [](int, off_t, off_t) { return ENOSPC; });
    CHECK_FALSE(os::create_shared_file(4096));
    CHECK(errno == ENOSPC);
}

TEST_CASE("a wait that signals interrupt again and again ends when it would have ended without them") {
    const SocketPair pair;
    SystemTime time;
    const Instant until = after(time.now(), std::chrono::milliseconds(200));
    std::vector<std::uint64_t> left;
    const Hooked<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> hook(
        calls::ppoll(), [&](pollfd *, nfds_t, const timespec *timeout, const sigset_t *) {
            left.push_back(static_cast<std::uint64_t>(timeout->tv_sec) * second +
                           static_cast<std::uint64_t>(timeout->tv_nsec));
            const timespec a_little{0, 20'000'000};
            nanosleep(&a_little, nullptr); // a part of the wait has passed when the signal comes
            return left.back() == 0 ? 0 : fails_with(EINTR);
        });
    std::uint8_t out[4];
    CHECK(os::read_exactly(pair.b.get(), out, sizeof out, until, time).status == Status::timed_out);
    CHECK(left.size() <= 11);
    CHECK(std::is_sorted(left.rbegin(), left.rend()));
    CHECK(left.front() <= 200'000'000);
}

TEST_CASE("a close is made once, whatever it answers") {
    int closes = 0;
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const Hooked<int(int)> hook(calls::close(), [&](int number) {
        ++closes;
        calls::close().real(number);
        return fails_with(EINTR);
    });
    fd.reset();
    CHECK(closes == 1);
}
