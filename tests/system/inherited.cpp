// What a forked child inherited belongs to its parent, also where both have the same process id; what the child makes for
// itself works.
#include "support/api.hpp"
#include "support/hand_backend.hpp"
#include "support/namespaces.hpp"
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

// A session with a handoff that nobody has answered, and names in a directory.
struct House {
    Directory directory;
    Listener listener = make_listener(directory / "listener");
    Backend backend = make_backend();
    Joined joined;
    FrontDoor door = make_front_door(joined.broker);
    Queue queue = make_queue();
    ClientConnection client;
    Event offer;

    House() {
        REQUIRE(rp::test::listen_at(backend.get(), (directory / "backend").c_str()) == RP_HANDOFF_OK);
        submit(joined.offering, client);
        offer = joined.next_offer();
    }

    void destroy_all() {
        offer.offer.reset();
        door.reset();
        joined.offering.reset();
        joined.receiving.reset();
        joined.broker.reset();
        queue.reset();
        backend.reset();
        listener.reset();
    }

    void must_be_untouched() {
        must(exists(directory / "listener") && exists(directory / "backend"));
        must(!is_at_end(client.client.get()));
        const UniqueFd adopted = accept_offer(offer.offer);
        must(are_joined(adopted.get(), client.client.get()));
        must(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    }
};

// The child's own: broker, both sides of a session, a listener.
void must_work(const Directory &directory, const std::string &name) {
    const Listener listener = make_listener(directory / name);
    const Joined joined;
    ClientConnection client;
    submit(joined.offering, client);
    const Event event = joined.next_offer();
    const UniqueFd adopted = accept_offer(event.offer);
    must(are_joined(adopted.get(), client.client.get()));
    must(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    must(dial(directory / name).get() >= 0);
}

} // namespace

TEST_CASE("process 1 of a namespace keeps what it has when its child, which is 1 in another, destroys its copies") {
    as_first_process([] {
        House house;
        must(unshare(CLONE_NEWPID) == 0);
        Child child([&](const Wire &) {
            must(getpid() == 1);
            must(rp_handoff_session_process(house.joined.offering.get()) == RP_HANDOFF_ERR_FORKED);
            house.destroy_all();
        });
        must(child.wait() == 0);
        house.must_be_untouched();
    });
}

TEST_CASE("a prefork child's own handles work beside the ones that it inherited, and so do its own child's") {
    House house;
    Child child([&](const Wire &) {
        must_work(house.directory, "child's");
        must(!exists(house.directory / "child's"));
        const Listener kept = make_listener(house.directory / "kept");
        Child grandchild([&](const Wire &) {
            must_work(house.directory, "grandchild's");
            must(rp_handoff_listener_get_fd(kept.get()) == RP_HANDOFF_ERR_FORKED);
            must(rp_handoff_listener_get_fd(house.listener.get()) == RP_HANDOFF_ERR_FORKED);
            rp_handoff_listener_destroy(kept.get());
            house.destroy_all();
        });
        must(grandchild.wait() == 0);
        must(exists(house.directory / "kept"));
        must(rp_handoff_listener_get_fd(kept.get()) >= 0);
    });
    CHECK(child.wait() == 0);
    house.must_be_untouched();
}

TEST_CASE("a child that gives an inherited session or broker to a handle of its own is refused") {
    const House house;
    Child child([&](const Wire &) {
        const Broker own = make_broker();
        const FrontDoor door = make_front_door(own);
        auto service = sized<rp_handoff_front_door_service>();
        service.name = "service";
        service.backend_endpoint = "/somewhere";
        service.session = house.joined.offering.get();
        must(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_ERR_FORKED);
        rp_handoff_front_door *made = nullptr;
        must(rp_handoff_front_door_create(house.joined.broker.get(), nullptr, &made, nullptr) == RP_HANDOFF_ERR_FORKED);
        must(made == nullptr);
    });
    CHECK(child.wait() == 0);
}
