#include "handoff/policy.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::ns;

using Instance = BackendKey::Instance;

namespace {

constexpr AttemptInputs enabled{true, true, false, false};

BackendKey key_of(std::string_view service) {
    return {Instance::shared, "", service, "1", ""};
}
const BackendKey backend = key_of("service");

// Three failures in a window of 100, for four backends.
AttemptPolicy small_policy() {
    return AttemptPolicy(AttemptPolicy::Config{3, ns(100), 4});
}

void fail(AttemptPolicy &policy, unsigned times, std::uint64_t now, const BackendKey &key = backend) {
    for (unsigned i = 0; i < times; ++i) {
        policy.record_failure(key, FailureClass::backend_ack_timeout, at(now));
    }
}

Reason reason_at(AttemptPolicy &policy, std::uint64_t now, const AttemptInputs &inputs = enabled) {
    const std::optional<Decision> objection = policy.objection(backend, inputs, at(now));
    return objection ? objection->reason : Reason::none;
}

AttemptInputs inputs_of(unsigned bits) {
    return {(bits & 1U) != 0, (bits & 2U) != 0, (bits & 4U) != 0, (bits & 8U) != 0};
}

Reason expected(unsigned bits, bool limited) {
    const AttemptInputs inputs = inputs_of(bits);
    return !inputs.client_supports   ? Reason::client_unsupported
           : !inputs.service_enabled ? Reason::service_policy_disabled
           : inputs.fd_pressure      ? Reason::fd_pressure_disabled
           : inputs.adopted_backend  ? Reason::adopted_backend
           : limited                 ? Reason::failed_attempt_rate_limited
                                     : Reason::none;
}

} // namespace

TEST_CASE("the first objection of client, service, pressure, adopted backend and rate limit is the one") {
    for (const bool limited : {false, true}) {
        for (unsigned bits = 0; bits < 16; ++bits) {
            CAPTURE(bits);
            CAPTURE(limited);
            AttemptPolicy policy = small_policy();
            fail(policy, limited ? 3 : 2, 0);
            CHECK(reason_at(policy, 1, inputs_of(bits)) == expected(bits, limited));
        }
    }
}

TEST_CASE("nothing is in favour of an attempt by default") {
    AttemptPolicy policy;
    CHECK(reason_at(policy, 0, AttemptInputs{}) == Reason::client_unsupported);
}

TEST_CASE("only the rate limit says when to try again") {
    AttemptPolicy policy = small_policy();
    fail(policy, 3, 1000);
    for (unsigned bits = 0; bits < 16; ++bits) {
        const auto objection = policy.objection(backend, inputs_of(bits), at(1040));
        REQUIRE(objection);
        const bool limit = objection->reason == Reason::failed_attempt_rate_limited;
        CHECK(objection->retry_after.has_value() == limit);
        if (limit) {
            CHECK(*objection->retry_after == ns(60));
        }
        CHECK(objection->uses_backend_reconnect());
        CHECK_FALSE(objection->sends_client_error());
    }
}

TEST_CASE("the objections before the rate limit leave the counts alone, and do not even let a window end") {
    for (unsigned bits = 0; bits < 16; ++bits) {
        if (expected(bits, false) == Reason::none) {
            continue;
        }
        CAPTURE(bits);
        AttemptPolicy policy = small_policy();
        fail(policy, 2, 0);
        for (const std::uint64_t now : {50U, 99U, 100U, 5000U}) {
            CHECK(reason_at(policy, now, inputs_of(bits)) == expected(bits, false));
        }
        CHECK(policy.keys() == 1);
        CHECK(policy.failures(backend, at(99)) == 2);
    }
}

TEST_CASE("a backend is attempted until the last failure that it may have, and then no more") {
    AttemptPolicy policy = small_policy();
    CHECK(reason_at(policy, 0) == Reason::none);
    for (std::uint32_t failures = 1; failures <= 3; ++failures) {
        fail(policy, 1, 0);
        CHECK(policy.failures(backend, at(0)) == failures);
        CHECK(reason_at(policy, 0) == (failures < 3 ? Reason::none : Reason::failed_attempt_rate_limited));
    }
}

TEST_CASE("at exactly the window's end a backend is attempted again, and one nanosecond before it is not") {
    AttemptPolicy policy = small_policy();
    fail(policy, 3, 1000);
    const auto objection = policy.objection(backend, enabled, at(1099));
    REQUIRE(objection);
    CHECK(objection->retry_after == ns(1));
    CHECK_FALSE(policy.objection(backend, enabled, at(1100)));
    CHECK(policy.failures(backend, at(1100)) == 0);
}

TEST_CASE("a window starts at the first failure and does not slide") {
    AttemptPolicy policy = small_policy();
    fail(policy, 1, 1000);
    fail(policy, 2, 1099);
    CHECK(reason_at(policy, 1099) == Reason::failed_attempt_rate_limited);
    CHECK(reason_at(policy, 1100) == Reason::none);
    fail(policy, 1, 1100);
    CHECK(policy.failures(backend, at(1199)) == 1);
    CHECK(policy.failures(backend, at(1200)) == 0);
}

TEST_CASE("the time to try again counts down from the whole window, which it is when the clock was set back") {
    AttemptPolicy policy = small_policy();
    fail(policy, 3, 1000);
    struct Case {
        std::uint64_t now;
        std::uint64_t left;
    };
    for (const Case &c : {Case{0, 100}, Case{999, 100}, Case{1000, 100}, Case{1001, 99}, Case{1050, 50}}) {
        const auto objection = policy.objection(backend, enabled, at(c.now));
        REQUIRE(objection);
        CHECK(objection->retry_after == ns(c.left));
    }
}

TEST_CASE("the count of failures is capped at what is allowed") {
    AttemptPolicy policy = small_policy();
    fail(policy, 1000, 0);
    CHECK(policy.failures(backend, at(0)) == 3);
}

TEST_CASE("a failure answers its own reason, without a time to try again") {
    AttemptPolicy policy = small_policy();
    const FailureClass classes[] = {FailureClass::permission_denied, FailureClass::integrity_mismatch,
                                    FailureClass::backend_ack_timeout};
    const Reason reasons[] = {Reason::permission_denied, Reason::integrity_mismatch, Reason::backend_ack_timeout};
    for (std::size_t i = 0; i < 3; ++i) {
        const Decision decision = policy.record_failure(backend, classes[i], at(0));
        CHECK(decision.reason == reasons[i]);
        CHECK_FALSE(decision.retry_after);
    }
    CHECK(policy.failures(backend, at(0)) == 3); // all of them count alike
}

TEST_CASE("a success forgets the failures, of this backend only") {
    AttemptPolicy policy = small_policy();
    const BackendKey other = key_of("other");
    fail(policy, 3, 0);
    fail(policy, 2, 0, other);
    policy.record_success(backend);
    policy.record_success(key_of("unheard of"));
    CHECK(reason_at(policy, 0) == Reason::none);
    CHECK(policy.failures(backend, at(0)) == 0);
    CHECK(policy.failures(other, at(0)) == 2);
    CHECK(policy.keys() == 1);
    fail(policy, 1, 90);
    CHECK(policy.failures(backend, at(189)) == 1); // in a window that starts there
}

TEST_CASE("limits of zero are taken for the least") {
    AttemptPolicy policy(AttemptPolicy::Config{0, ns(0), 0});
    CHECK(reason_at(policy, 0) == Reason::none);
    fail(policy, 1, 0);
    const auto objection = policy.objection(backend, enabled, at(0));
    REQUIRE(objection);
    CHECK(objection->retry_after == std::chrono::milliseconds(1));
    CHECK(reason_at(policy, 999'999) == Reason::failed_attempt_rate_limited);
    CHECK(reason_at(policy, 1'000'000) == Reason::none);
}

TEST_CASE("by default eight failures in thirty seconds are enough, of at most 1024 backends") {
    AttemptPolicy policy;
    fail(policy, 7, 0);
    CHECK(reason_at(policy, 0) == Reason::none);
    fail(policy, 1, 0);
    const auto objection = policy.objection(backend, enabled, at(0));
    REQUIRE(objection);
    CHECK(objection->retry_after == std::chrono::seconds(30));
    for (unsigned i = 0; i < 1024; ++i) {
        fail(policy, 1, 1, key_of(std::to_string(i)));
    }
    CHECK(policy.keys() == 1024);
    CHECK(policy.failures(backend, at(1)) == 0); // the oldest was forgotten
    CHECK(policy.failures(key_of("0"), at(1)) == 1);
}

TEST_CASE("a window that would end beyond the end of time lasts until then") {
    AttemptPolicy policy(AttemptPolicy::Config{1, ns(UINT64_MAX), 1});
    fail(policy, 1, UINT64_MAX - 2);
    const auto objection = policy.objection(backend, enabled, at(UINT64_MAX - 1));
    REQUIRE(objection);
    CHECK(objection->retry_after == ns(UINT64_MAX - 1));
}

TEST_CASE("every part of a backend's key makes another backend") {
    const std::vector<BackendKey> keys{
        {},
        {Instance::shared, "", "s", "1", "h"},
        {Instance::of_service, "n", "s", "1", "h"},
        {Instance::named, "n", "s", "1", "h"},
        {Instance::of_service, "m", "s", "1", "h"},
        {Instance::named, "m", "s", "1", "h"},
        {Instance::shared, "", "t", "1", "h"},
        {Instance::shared, "", "s", "2", "h"},
        {Instance::shared, "", "s", "1", "i"}, // the same version, built anew
        {Instance::shared, "", "s", "1", ""},
    };
    for (std::size_t i = 0; i < keys.size(); ++i) {
        for (std::size_t j = 0; j < keys.size(); ++j) {
            CAPTURE(i);
            CAPTURE(j);
            CHECK((keys[i] == keys[j]) == (i == j));
            const BackendKey copy = keys[j];
            CHECK(copy.hash() == keys[j].hash());
        }
    }
    CHECK(BackendKey(Instance::shared, "a", "s", "1", "h") == BackendKey(Instance::shared, "b", "s", "1", "h"));
}

TEST_CASE("no two keys run into each other, wherever their parts are cut") {
    // All ways to cut texts that look like the separators themselves.
    std::set<std::size_t> hashes;
    std::vector<BackendKey> keys;
    const std::string text = "1:11:1::1";
    for (std::size_t i = 0; i <= text.size(); ++i) {
        for (std::size_t j = i; j <= text.size(); ++j) {
            for (std::size_t k = j; k <= text.size(); ++k) {
                keys.emplace_back(Instance::named, text.substr(0, i), text.substr(i, j - i), text.substr(j, k - j),
                                  text.substr(k));
                hashes.insert(keys.back().hash());
            }
        }
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
        for (std::size_t j = i + 1; j < keys.size(); ++j) {
            REQUIRE_FALSE(keys[i] == keys[j]);
        }
    }
    CHECK(hashes.size() > keys.size() * 9 / 10);
}

TEST_CASE("an instance is known by its kind and its name") {
    CHECK(BackendKey::instance_id(Instance::shared, "ignored") == "shared");
    CHECK(BackendKey::instance_id(Instance::of_service, "build") == "private:build");
    CHECK(BackendKey::instance_id(Instance::named, "blue") == "explicit:blue");
    CHECK(BackendKey::instance_id(Instance::named, "") == "explicit:");
}

TEST_CASE("failures for which there was room need no memory, also with long names") {
    AttemptPolicy policy;
    std::vector<BackendKey> keys;
    for (unsigned i = 0; i < 40; ++i) {
        keys.push_back(key_of(std::string(200, 'x') + std::to_string(i)));
    }
    policy.reserve(keys.size());
    const std::size_t before = rp::test::allocations();
    for (BackendKey &key : keys) {
        policy.record_failure(std::move(key), FailureClass::permission_denied, at(0));
    }
    CHECK(rp::test::allocations() == before);
    CHECK(policy.keys() == 40);
}
