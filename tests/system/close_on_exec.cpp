// What a program that is started in the middle of everything is left with: nothing of the library's.
#include "support/api.hpp"
#include "support/process.hpp"
#include "support/sockets.hpp"

using namespace rp::test;

namespace {

std::string descriptors_of_a_new_program() {
    Program program({BACKEND_PROGRAM, "descriptors"});
    std::string numbers = program.read_to_end();
    REQUIRE(program.process().wait() == 0);
    REQUIRE_FALSE(numbers.empty());
    return numbers;
}

} // namespace

TEST_CASE("a program that is started while a handoff waits for its answer inherits none of its descriptors") {
    const std::string before = descriptors_of_a_new_program();
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd silent = listener_at(path);
    const ClientConnection client;
    std::string during;
    FakeTime time;
    time.meanwhile = [&] { during = descriptors_of_a_new_program(); };
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
    CHECK(execute(broker, request).cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    CHECK(during == before);
}

TEST_CASE("a program that is started by a backend inherits neither what it listens to nor what it adopted") {
    const std::string before = descriptors_of_a_new_program();
    const Directory directory;
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), (directory / "backend").c_str()) == RP_HANDOFF_OK);
    const HandBroker earlier(backend);
    const HandBroker later(backend);
    const UniqueFd dialled = dial(directory / "backend");
    const ClientConnection client;
    earlier.offer(client.fd.get(), token_of(1));
    later.offer(client.fd.get(), token_of(2));
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(dialled.get(), client.fd.get(), token_of(3).bytes, 16, &sent) == RP_HANDOFF_OK);

    const Offer adopted = take_offer(backend); // the later one waits inside, and of the third one only a part is there
    std::int32_t fd = -1;
    REQUIRE(rp_handoff_offer_accept(adopted.get(), &fd) == RP_HANDOFF_OK);
    const UniqueFd owned(fd);
    REQUIRE(statistics(backend).unanswered == 1);
    REQUIRE(statistics(backend).connections == 2);
    CHECK(descriptors_of_a_new_program() == before);
}

TEST_CASE("a program that is started while a backend waits for offers inherits none of its descriptors") {
    const std::string before = descriptors_of_a_new_program();
    const Directory directory;
    std::string during;
    FakeTime time;
    time.meanwhile = [&] { during = descriptors_of_a_new_program(); };
    const Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    REQUIRE(rp::test::listen_at(backend.get(), (directory / "backend").c_str()) == RP_HANDOFF_OK);
    rp_handoff_offer *offer = nullptr;
    CHECK(rp_handoff_backend_next_offer(backend.get(), second, &offer) == RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(during == before);
}

TEST_CASE("a listener that a backend takes does not stay open across execve, though its maker let it") {
    const std::string before = descriptors_of_a_new_program();
    const Directory directory;
    UniqueFd listener = listener_at(directory / "backend");
    keep_across_exec(listener.get());
    CHECK(descriptors_of_a_new_program() != before);
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_on(backend.get(), listener.get(), RP_HANDOFF_TRUST_CREDENTIALS) == RP_HANDOFF_OK);
    listener.release();
    CHECK(descriptors_of_a_new_program() == before);
}
