#include "handoff/service_names.hpp"

#include <doctest/doctest.h>

#include <new>
#include <vector>

#include "support/allocations.hpp"

using namespace rp::handoff;

namespace {

void use_once(ServiceNames &names, const std::string &name) {
    names.release(names.use(name));
}

std::string numbered(std::size_t i) {
    return "service " + std::to_string(i);
}

} // namespace

TEST_CASE("a name is kept once, however many use it") {
    ServiceNames names;
    ServiceNames::Name *const name = names.use("service");
    CHECK(name->first == "service");
    CHECK(names.use("other") != name);
    CHECK(names.use(std::string("service")) == name);
    CHECK(names.size() == 2);
    names.release(name);
    CHECK(names.use("service") == name);
}

TEST_CASE("the empty name is as good as any other") {
    ServiceNames names;
    ServiceNames::Name *const name = names.use("");
    CHECK(name->first.empty());
    CHECK(names.use("") == name);
}

TEST_CASE("a name that is not in use is kept for its next use, which allocates nothing") {
    ServiceNames names;
    const std::string name(200, 'n');
    use_once(names, name);
    use_once(names, "between");
    const std::size_t before = rp::test::allocations();
    for (int i = 0; i < 100; ++i) {
        use_once(names, name);
    }
    CHECK(rp::test::allocations() == before);
    CHECK(names.size() == 2);
}

TEST_CASE("so many names that are not in use are kept, the last ones, and no more") {
    for (const std::size_t count : {ServiceNames::spare - 1, ServiceNames::spare, ServiceNames::spare + 1}) {
        CAPTURE(count);
        ServiceNames names;
        for (std::size_t i = 0; i < count; ++i) {
            use_once(names, numbered(i));
        }
        CHECK(names.size() == std::min(count, ServiceNames::spare));
        const std::size_t before = rp::test::allocations();
        names.use(numbered(count - 1)); // the last
        CHECK(rp::test::allocations() == before);
        names.use(numbered(0)); // the first
        CHECK(names.size() == std::min(count, ServiceNames::spare) + (count > ServiceNames::spare ? 1 : 0));
    }
}

TEST_CASE("names in use are kept, however many names come and go") {
    ServiceNames names;
    std::vector<ServiceNames::Name *> used;
    for (std::size_t i = 0; i < 3 * ServiceNames::spare; ++i) {
        used.push_back(names.use(numbered(i)));
    }
    ServiceNames::Name *const back = names.use("back");
    names.release(back);
    CHECK(names.use("back") == back); // in use again, and among the last that were not
    for (std::size_t i = 0; i < 10 * ServiceNames::spare; ++i) {
        use_once(names, "passing " + std::to_string(i));
    }
    CHECK(names.use("back") == back);
    for (std::size_t i = 0; i < used.size(); ++i) {
        REQUIRE(used[i]->first == numbered(i));
        REQUIRE(names.use(numbered(i)) == used[i]);
    }
    CHECK(names.size() == used.size() + 1 + ServiceNames::spare);
}

TEST_CASE("a name for which there is no memory is not there, and the others stay") {
    ServiceNames names;
    ServiceNames::Name *const kept = names.use("kept");
    const std::string name(200, 'n');
    for (std::size_t nth = 0; names.size() == 1; ++nth) {
        REQUIRE(nth < 5);
        const rp::test::FailAllocation fail(nth);
        try {
            names.use(name);
        } catch (const std::bad_alloc &) {
            CHECK(names.size() == 1);
        }
    }
    CHECK(names.use("kept") == kept);
    CHECK(names.use(name)->first == name);
}

TEST_CASE("a copy of a name holds as much as the protocol allows and ends with a NUL") {
    for (const std::size_t length : {0U, 1U, 254U, 255U, 256U, 1000U}) {
        CAPTURE(length);
        const ServiceName copy{std::string(length, 'n')};
        CHECK(copy == std::string(std::min<std::size_t>(length, 255), 'n'));
        CHECK(std::string(copy.c_str()) == copy.view());
    }
}
