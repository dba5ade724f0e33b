// Every allocation fails once: then a call has an outcome, or says ERR_NO_MEMORY and has changed nothing.
#include "support/policy_api.hpp"

#include <string>

#include "support/allocations.hpp"

using namespace rp::test;

namespace {

const std::string long_name(200, 'n'); // too long for any text to live without memory of its own

struct MemoryScene : Judge {
    MemoryScene() {
        key = key_of(long_name.c_str());
        key.executable_hash = long_name.c_str();
        subject = subject_of(key);
        token = issue(broker, long_name.c_str());
    }

    rp_handoff_token token{};
    Script script;
};

} // namespace

TEST_CASE("an execute without memory sends nothing, and its token can be used again") {
    for (const std::int32_t awaited : {RP_HANDOFF_ACK_WAIT_ACCEPTED, RP_HANDOFF_ACK_WAIT_FAILED}) {
        // The key, the room for a failure, the service's name.
        for_every_allocation(3, [awaited](std::size_t nth) {
            CAPTURE(nth);
            MemoryScene scene;
            scene.script.awaited = awaited;
            const rp_handoff_request request = scene.script.request(scene.token, &scene.subject);
            OutStruct<rp_handoff_outcome> outcome;
            const auto [status, happened] = without_memory(
                nth, [&] { return rp_handoff_broker_execute(scene.broker.get(), &request, outcome.get(), nullptr); });
            if (status != RP_HANDOFF_OK) {
                CHECK(status == RP_HANDOFF_ERR_NO_MEMORY);
                CHECK(happened);
                CHECK(outcome.untouched());
                CHECK(scene.script.sends == 0);
                CHECK(failures(scene.broker, scene.key) == 0);
                CHECK(execute(scene.broker, request).stage ==
                      (awaited == RP_HANDOFF_ACK_WAIT_ACCEPTED ? RP_HANDOFF_STAGE_NONE : RP_HANDOFF_STAGE_AWAIT_ACK));
            }
            CHECK(scene.script.sends == 1);
            CHECK(failures(scene.broker, scene.key) == (awaited == RP_HANDOFF_ACK_WAIT_ACCEPTED ? 0 : 1));
            check_no_token_left(scene.broker, scene.token);
            return happened;
        });
    }
}

TEST_CASE("an execute_value without memory duplicates nothing, and its token can be used again") {
    for_every_allocation(3, [](std::size_t nth) {
        CAPTURE(nth);
        MemoryScene scene;
        auto request = sized<rp_handoff_value_request>();
        request.token = scene.token;
        request.subject = &scene.subject;
        OutStruct<rp_handoff_outcome> outcome;
        const auto [status, happened] = without_memory(nth, [&] {
            return rp_handoff_broker_execute_value(scene.broker.get(), &request, outcome.get(), nullptr, nullptr);
        });
        if (status != RP_HANDOFF_OK) {
            CHECK(status == RP_HANDOFF_ERR_NO_MEMORY);
            CHECK(outcome.untouched());
            CHECK(rp_handoff_broker_revoke(scene.broker.get(), &scene.token) == 1);
        }
        check_no_token_left(scene.broker, scene.token);
        return happened;
    });
}

TEST_CASE("a failure for which there is no memory is not recorded, and can be recorded again") {
    for_every_allocation(3, [](std::size_t nth) {
        CAPTURE(nth);
        MemoryScene scene;
        OutStruct<rp_handoff_decision> decision;
        const auto [status, happened] = without_memory(nth, [&] {
            return rp_handoff_broker_record(scene.broker.get(), &scene.key, RP_HANDOFF_REASON_PERMISSION_DENIED,
                                            decision.get(), nullptr);
        });
        CHECK(status == (happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(decision.untouched() == happened);
        CHECK(failures(scene.broker, scene.key) == (happened ? 0 : 1));
        fail(scene.broker, scene.key);
        CHECK(failures(scene.broker, scene.key) == (happened ? 1 : 2));
        return happened;
    });
}

TEST_CASE("a question for which there is no memory changes nothing") {
    for_every_allocation(1, [](std::size_t nth) {
        MemoryScene scene;
        fail(scene.broker, scene.key, 3);
        OutStruct<rp_handoff_decision> decision;
        const Answer asked = without_memory(nth, [&] {
            return rp_handoff_broker_should_attempt(scene.broker.get(), &scene.subject, decision.get(), nullptr);
        });
        CHECK(asked.status == (asked.happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(decision.untouched() == asked.happened);
        Out<std::uint32_t> count;
        const Answer counted = without_memory(nth, [&] {
            return rp_handoff_broker_get_failure_count(scene.broker.get(), &scene.key, count.get(), nullptr);
        });
        CHECK(counted.status == (counted.happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(count.untouched() == counted.happened);
        CHECK(failures(scene.broker, scene.key) == 3);
        return asked.happened || counted.happened;
    });
}

TEST_CASE("a queue without memory is not made, and takes no descriptor") {
    for_every_allocation(1, [](std::size_t nth) {
        Out<rp_handoff_queue *> out;
        const Answer made = without_memory(nth, [&] { return rp_handoff_queue_create(nullptr, out.get(), nullptr); });
        CHECK(made.status == (made.happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(out.untouched() == made.happened);
        rp_handoff_queue_destroy(made.happened ? nullptr : out.value);
        return made.happened;
    });

    auto options = sized<rp_handoff_queue_options>();
    options.capacity = 1000;
    options.ttl_ns = UINT64_MAX / 2;
    const Queue queue = make_queue(options);
    Answer parked{RP_HANDOFF_OK, false};
    for (int i = 0; i < 1000 && parked.status == RP_HANDOFF_OK; ++i) {
        UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
        parked = without_memory(0, [&] { return rp_handoff_queue_enqueue(queue.get(), fd.get(), 0); });
        if (parked.status == RP_HANDOFF_OK) {
            fd.release();
        } else {
            CHECK(is_open(fd.get()));
        }
    }
    CHECK(parked.status == RP_HANDOFF_ERR_NO_MEMORY);
}

TEST_CASE("samples that cannot be copied are not summarized") {
    const std::uint64_t samples[] = {1, 2, 3};
    OutStruct<rp_handoff_latency_summary> summary;
    OutStruct<rp_handoff_latency_comparison> comparison;
    CHECK(without_memory(0, [&] { return rp_handoff_latency_summarize(samples, 3, summary.get()); }).status ==
          RP_HANDOFF_ERR_NO_MEMORY);
    for (const std::size_t nth : {0U, 1U}) {
        CHECK(without_memory(nth, [&] {
                  return rp_handoff_latency_compare(samples, 3, samples, 3, comparison.get());
              }).status == RP_HANDOFF_ERR_NO_MEMORY);
    }
    CHECK(summary.untouched());
    CHECK(comparison.untouched());
}
