// Whether to attempt, and what failures make of it: "policy" of the public header.
#include "support/policy_api.hpp"

#include <cerrno>
#include <string>

using namespace rp::test;

namespace {

constexpr std::int32_t failure_reasons[] = {RP_HANDOFF_REASON_PERMISSION_DENIED, RP_HANDOFF_REASON_INTEGRITY_MISMATCH,
                                            RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT};

std::int32_t count_status(const Broker &broker, const rp_handoff_backend_key &key) {
    Out<std::uint32_t> out;
    const std::int32_t status = rp_handoff_broker_get_failure_count(broker.get(), &key, out.get(), nullptr);
    CHECK(out.untouched() == (status != RP_HANDOFF_OK));
    return status;
}

} // namespace

TEST_CASE("the broker's own guard speaks against an attempt as the caller's word does") {
    Judge judge;
    REQUIRE(rp_handoff_broker_note_accept(judge.broker.get(), EMFILE) == 1);
    CHECK(decide(judge.broker, judge.subject).reason == RP_HANDOFF_REASON_FD_PRESSURE_DISABLED);
    judge.subject.service_enabled = 0;
    CHECK(decide(judge.broker, judge.subject).reason == RP_HANDOFF_REASON_SERVICE_POLICY_DISABLED);
    judge.subject.service_enabled = 1;
    for (int i = 0; i < 3; ++i) {
        CHECK(decide(judge.broker, judge.subject).attempt == 0);
        CHECK(rp_handoff_broker_note_accept(judge.broker.get(), 0) == (i == 2 ? 0 : 1));
    }
    CHECK(decide(judge.broker, judge.subject).attempt == 1);
}

TEST_CASE("a recorded failure answers its own reason, and at the limit still that one") {
    Judge judge;
    for (std::uint32_t i = 0; i < 5; ++i) {
        OutStruct<rp_handoff_decision> out;
        const std::int32_t reason = failure_reasons[i % 3];
        REQUIRE(rp_handoff_broker_record(judge.broker.get(), &judge.key, reason, out.get(), nullptr) == RP_HANDOFF_OK);
        CHECK(out.value.attempt == 0);
        CHECK(out.value.reason == reason);
        CHECK(out.value.retry_after_ns == 0);
        CHECK(failures(judge.broker, judge.key) == std::min(i + 1, 3U));
    }
}

TEST_CASE("the instance's name is not looked at where the instance is shared") {
    const Judge judge;
    auto key = key_of("service");
    fail(judge.broker, key);
    for (const char *name : {"name", "\xFF", reinterpret_cast<const char *>(8)}) {
        key.instance_name = name;
        CHECK(failures(judge.broker, key) == 1);
    }
}

TEST_CASE("a key's instance is one of three, and its texts are bounded UTF-8") {
    const Judge judge;
    auto key = key_of("service");
    for (const std::int32_t instance : {-1, 3, INT32_MIN, INT32_MAX}) {
        key.instance = instance;
        CHECK(count_status(judge.broker, key) == invalid);
    }
    const std::string longest(1023, 'x');
    const std::string too_long(1024, 'x');
    const char *rp_handoff_backend_key::*const texts[] = {
        &rp_handoff_backend_key::instance_name, &rp_handoff_backend_key::service_name,
        &rp_handoff_backend_key::service_version, &rp_handoff_backend_key::executable_hash};
    for (const auto text : texts) {
        key = key_of("service");
        key.instance = RP_HANDOFF_INSTANCE_EXPLICIT;
        key.*text = longest.c_str();
        CHECK(count_status(judge.broker, key) == RP_HANDOFF_OK);
        key.*text = too_long.c_str();
        CHECK(count_status(judge.broker, key) == invalid);
        key.*text = "caf\xE9";
        CHECK(count_status(judge.broker, key) == invalid);
    }
}

TEST_CASE("errors of accept are about descriptors or not, and the statistics tell") {
    const Judge judge;
    CHECK(rp_handoff_broker_note_accept(judge.broker.get(), ECONNABORTED) == 0);
    CHECK(rp_handoff_broker_note_accept(judge.broker.get(), 0) == 0);
    CHECK(statistics(judge.broker).fd_pressure == 0);
    for (const int error : {EMFILE, ENFILE, ETOOMANYREFS}) {
        CHECK(rp_handoff_broker_note_accept(judge.broker.get(), error) == 1);
        CHECK(statistics(judge.broker).fd_pressure == 1);
        CHECK(statistics(judge.broker).fd_pressure_episodes == 1);
    }
    for (int i = 0; i < 3; ++i) {
        CHECK(rp_handoff_broker_note_accept(judge.broker.get(), 0) == (i == 2 ? 0 : 1));
    }
    CHECK(rp_handoff_broker_note_accept(judge.broker.get(), 0) == 0);
    CHECK(statistics(judge.broker).fd_pressure == 0);
    REQUIRE(rp_handoff_broker_note_accept(judge.broker.get(), EMFILE) == 1);
    CHECK(statistics(judge.broker).fd_pressure_episodes == 2);
    CHECK(statistics(judge.broker).fd_pressure_refusals == 0); // of the front door only
}

TEST_CASE("a clock that fails is read as the end of time, and every window is over then") {
    Judge judge;
    fail(judge.broker, judge.key, 3);
    judge.time.broken = true;
    CHECK(decide(judge.broker, judge.subject).attempt == 1);
}

TEST_CASE("calls of the policy need their arguments") {
    const Judge judge;
    rp_handoff_broker *const broker = judge.broker.get();
    OutStruct<rp_handoff_decision> decision;
    CHECK(rp_handoff_broker_should_attempt(nullptr, &judge.subject, decision.get(), nullptr) == invalid);
    CHECK(rp_handoff_broker_record(nullptr, &judge.key, 5, decision.get(), nullptr) == invalid);
    CHECK(rp_handoff_broker_record(nullptr, &judge.key, RP_HANDOFF_REASON_NONE, nullptr, nullptr) == invalid);
    Out<std::uint32_t> count;
    CHECK(rp_handoff_broker_get_failure_count(nullptr, &judge.key, count.get(), nullptr) == invalid);
    CHECK(rp_handoff_broker_get_failure_count(broker, &judge.key, nullptr, nullptr) == invalid);
    CHECK(rp_handoff_broker_note_accept(nullptr, EMFILE) == invalid);
    CHECK(rp_handoff_broker_note_accept(broker, -1) == invalid);
    auto subject = sized<rp_handoff_subject>(); // without a backend
    CHECK(rp_handoff_broker_should_attempt(broker, &subject, decision.get(), nullptr) == invalid);
    subject.backend = &judge.key;
    subject.reserved = 1;
    CHECK(rp_handoff_broker_should_attempt(broker, &subject, decision.get(), nullptr) == RP_HANDOFF_ERR_UNSUPPORTED);
    CHECK(decision.untouched());
    CHECK(count.untouched());
}

TEST_CASE("a handle of another kind is no broker") {
    const Judge judge;
    const Backend backend = make_backend();
    auto *const other = reinterpret_cast<rp_handoff_broker *>(backend.get());
    constexpr std::int32_t wrong = RP_HANDOFF_ERR_WRONG_HANDLE;
    OutStruct<rp_handoff_decision> decision;
    Out<std::uint32_t> count;
    CHECK(rp_handoff_broker_should_attempt(other, &judge.subject, decision.get(), nullptr) == wrong);
    CHECK(rp_handoff_broker_record(other, &judge.key, 5, decision.get(), nullptr) == wrong);
    CHECK(rp_handoff_broker_record(other, &judge.key, RP_HANDOFF_REASON_NONE, nullptr, nullptr) == wrong);
    CHECK(rp_handoff_broker_get_failure_count(other, &judge.key, count.get(), nullptr) == wrong);
    CHECK(rp_handoff_broker_note_accept(other, EMFILE) == wrong);
    CHECK(decision.untouched());
    CHECK(count.untouched());
}
