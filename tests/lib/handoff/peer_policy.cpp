// Whom a handle talks to, by rules only: what the kernel says comes from the test.
#include <doctest/doctest.h>

#include <string>
#include <unistd.h>

#include "handoff/peer_policy.hpp"

using namespace rp::handoff;

namespace {

constexpr std::uint32_t overflow = 65534;
const std::uint32_t own = geteuid();
const std::uint32_t other = own + 1;

PeerCredentials of_uid(std::uint32_t uid, std::uint32_t pid = 7, bool pidfd = false) {
    return {pid, uid, uid, pidfd};
}

PeerPolicy listing(std::vector<std::uint32_t> uids, OverflowIds ids = {}) {
    return {false, false, std::move(uids), ids};
}

PeerPolicy matching_pids() {
    return {false, true, {}};
}

bool mentions(const Text &text, std::string_view part) {
    return text.view().find(part) != std::string_view::npos;
}

} // namespace

TEST_CASE("without a list the own user is talked to, and nobody else") {
    const PeerPolicy policy;
    CHECK(policy.judge(of_uid(own), {}) == PeerRule::none);
    CHECK(policy.judge(of_uid(other), {}) == PeerRule::uid);
    CHECK(policy.check(of_uid(own), 0) == Cause::none);
    CHECK(policy.check(of_uid(other), 0) == Cause::peer_rejected);
}

TEST_CASE("a list is all there is, so that the own user has to be in it") {
    const PeerPolicy policy = listing({other});
    CHECK(policy.judge(of_uid(other), {}) == PeerRule::none);
    CHECK(policy.judge(of_uid(own), {}) == PeerRule::uid);
}

TEST_CASE("a process without a visible pid is judged by its user") {
    CHECK(PeerPolicy().judge(of_uid(own, 0), {}) == PeerRule::none);
    CHECK(PeerPolicy().judge(of_uid(other, 0), {}) == PeerRule::uid);
    CHECK(matching_pids().judge(of_uid(own, 0), {}) == PeerRule::none);
    CHECK(PeerPolicy().judge(of_uid(own, 0), {0, false, true}) == PeerRule::none); // it said so in a message
}

TEST_CASE("a required pid is met by that pid only, neither by another one nor by one that is unknown") {
    const PeerPolicy policy = matching_pids();
    CHECK(policy.judge(of_uid(own, 7), {7}) == PeerRule::none);
    CHECK(policy.judge(of_uid(own, 8), {7}) == PeerRule::pid);
    CHECK(policy.judge(of_uid(own, 0), {7}) == PeerRule::pid_unknown);
    CHECK(policy.judge(of_uid(own, 0, true), {7}) == PeerRule::pid_unknown);
    CHECK(PeerPolicy().judge(of_uid(own, 8), {7}) == PeerRule::none); // pids are not matched
}

TEST_CASE("a required pidfd is met by one that is held, whether or not the pid is visible") {
    for (const std::uint32_t pid : {0U, 7U}) {
        CHECK(PeerPolicy().judge(of_uid(own, pid, true), {0, true}) == PeerRule::none);
        CHECK(PeerPolicy().judge(of_uid(own, pid, false), {0, true}) == PeerRule::pidfd);
    }
    CHECK(PeerPolicy().judge(of_uid(other, 0, true), {0, true}) == PeerRule::uid); // it says who, not whether he may
}

TEST_CASE("a user without a name is nobody, unless it is listed") {
    CHECK(PeerPolicy().judge(of_uid(overflow), {}) == PeerRule::nobody);
    CHECK(listing({own}).judge(of_uid(overflow), {}) == PeerRule::nobody);
    CHECK(listing({own, overflow}).judge(of_uid(overflow), {}) == PeerRule::none);
    CHECK(PeerPolicy(true, false, {}).judge(of_uid(overflow), {}) == PeerRule::none);
    const OverflowIds unusual{4711, 4712, false};
    CHECK(listing({own}, unusual).judge(of_uid(4711), {}) == PeerRule::nobody);
    CHECK(listing({own}, unusual).judge(of_uid(overflow), {}) == PeerRule::uid);
}

TEST_CASE("the own user is nobody too where it has no name, for strangers have the same") {
    const PeerPolicy nameless(false, false, {}, {own, own, false});
    CHECK(nameless.judge(of_uid(own), {}) == PeerRule::nobody);
    const PeerPolicy all_named(false, false, {}, {own, own, true});
    CHECK(all_named.judge(of_uid(own), {}) == PeerRule::none);
}

TEST_CASE("a message with nobody's credentials is nobody's, also where the overflow uid is listed or is a user") {
    const PeerCredentials blank{0, overflow, overflow, false};
    const PeerPolicy::Demand by_message{0, false, true};
    for (const bool is_user : {true, false}) {
        const PeerPolicy listed = listing({overflow}, {overflow, overflow, is_user});
        CHECK(listed.judge(blank, by_message) == PeerRule::no_credentials);
        CHECK(listed.judge(blank, {}) == PeerRule::none); // SO_PEERCRED is always somebody's
        for (const PeerCredentials &named :
             {PeerCredentials{7, overflow, overflow, false}, PeerCredentials{0, overflow, 5, false},
              PeerCredentials{0, overflow, overflow, true}}) {
            CHECK(listed.judge(named, by_message) == PeerRule::none);
        }
    }
    CHECK(PeerPolicy(true, false, {}).judge(blank, by_message) == PeerRule::none); // anybody may
    CHECK(PeerPolicy(true, false, {}).judge(blank, {0, true, true}) == PeerRule::pidfd);
}

TEST_CASE("each rule has a sentence that tells what was met and what was asked for") {
    const auto sentence = [](const PeerPolicy &policy, const PeerCredentials &peer, PeerPolicy::Demand demand) {
        return policy.explain(policy.judge(peer, demand), peer, demand);
    };
    CHECK(sentence(listing({3, 5}), of_uid(1000), {}).view() == "uid 1000 is not allowed (allowed: 3 5)");
    CHECK(mentions(sentence({}, of_uid(other), {}), "(allowed: " + std::to_string(own) + ")"));
    CHECK(mentions(sentence({}, of_uid(overflow), {}), "65534"));
    CHECK(mentions(sentence(matching_pids(), of_uid(own, 8), {7}), "pid 8 is not the required 7"));
    CHECK(mentions(sentence(matching_pids(), of_uid(own, 0), {7}), "not visible"));
    CHECK(mentions(sentence({}, of_uid(own, 7), {0, true}), "pidfd"));
    CHECK(mentions(sentence({}, {0, overflow, overflow, false}, {0, false, true}), "no credentials"));
    CHECK(sentence({}, of_uid(own), {}).empty());
}
