// Handles that a forked child inherited: it may end them, and its parent does not notice.
#include <thread>

#include "support/api.hpp"
#include "support/descriptors.hpp"
#include "support/hand_backend.hpp"
#include "support/process.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

TEST_CASE("a child that ends the broker that it inherited leaves the parent's tokens as they are") {
    Scene scene;
    in_a_child([&] { rp_handoff_broker_destroy(scene.broker.get()); });
    scene.answer = [&](const ReceivedOffer &offer) { scene.send(offer.accepted()); };
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("a child that ends the backend that it inherited closes its copies, and the parent's goes on") {
    const std::size_t before = open_descriptors().size();
    Listening backend;
    const HandBroker resting(backend.backend);
    RawBroker half(backend.path);
    half.send_with_descriptor({1, 2, 3});
    CHECK(take_offer(backend.backend) == nullptr);
    const std::size_t of_the_test = before + 3 + 1; // the broker's ends and the clients', and the child's own wire
    in_a_child([&] {
        rp_handoff_backend_destroy(backend.backend.get());
        must(open_descriptors().size() == of_the_test);
    });
    CHECK(exists(backend.path));
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
    CHECK(broker.answer() == acceptance(token_of(1)));
    const ClientConnection client;
    resting.offer(client.fd.get(), token_of(2));
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
    CHECK_FALSE(half.was_dropped());
}

TEST_CASE("a child that ends what it inherited says nothing to the brokers of offers that wait") {
    Listening backend;
    RawBroker given(backend.path);
    RawBroker queued(backend.path);
    given.offer(token_of(1));
    queued.offer(token_of(2));
    const Offer offer = take_offer(backend.backend);
    REQUIRE(statistics(backend.backend).unanswered == 2);
    in_a_child([&] {
        rp_handoff_offer_destroy(offer.get());
        rp_handoff_backend_destroy(backend.backend.get());
    });
    CHECK_FALSE(is_readable(given.connection.get()));
    CHECK_FALSE(is_readable(queued.connection.get()));
    CHECK_FALSE(given.client_was_closed());
    CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    CHECK(given.answer() == acceptance(token_of(1)));
    CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
    CHECK(queued.answer() == acceptance(token_of(2)));
}

TEST_CASE("a child that ends an offer in the other order, after its backend, is as quiet") {
    Listening backend;
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    const Offer offer = take_offer(backend.backend);
    in_a_child([&] {
        rp_handoff_backend_destroy(backend.backend.get());
        rp_handoff_offer_destroy(offer.get());
    });
    CHECK_FALSE(is_readable(broker.connection.get()));
    CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    CHECK(exists(backend.path));
}

TEST_CASE("a child of a process with a thread in next_offer ends the backend, and the thread gets its offer") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    std::thread waiting([&] {
        rp_handoff_offer *offer = nullptr;
        CHECK(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
        CHECK(accept_and_close(Offer(offer)) == RP_HANDOFF_OK);
    });
    {
        const Child child([&](const Wire &wire) {
            rp_handoff_backend_destroy(backend.get());
            wire.say('e');
            pause(); // killed, for at an exit leak checkers would miss the stack of the thread, which is not in this process
        });
        CHECK(child.hear() == 'e');
    }
    RawBroker broker(path);
    broker.offer(token_of(1));
    waiting.join();
    CHECK(broker.answer() == acceptance(token_of(1)));
}
