// Version, status texts, platform.
#include "support/capi.hpp"

#include <set>
#include <string>

using namespace rp::test;

namespace {

constexpr std::int32_t all_statuses[] = {
    RP_HANDOFF_OK,
    RP_HANDOFF_ACK_UNDELIVERED,
    RP_HANDOFF_ERR_INVALID_ARGUMENT,
    RP_HANDOFF_ERR_WRONG_HANDLE,
    RP_HANDOFF_ERR_UNSUPPORTED,
    RP_HANDOFF_ERR_NO_MEMORY,
    RP_HANDOFF_ERR_SYSTEM,
    RP_HANDOFF_ERR_INTERNAL,
    RP_HANDOFF_ERR_RANDOM,
    RP_HANDOFF_ERR_LIMIT,
    RP_HANDOFF_ERR_TIMED_OUT,
    RP_HANDOFF_ERR_CLOSED,
    RP_HANDOFF_ERR_BUFFER_TOO_SMALL,
    RP_HANDOFF_ERR_UNAVAILABLE,
    RP_HANDOFF_ERR_LIMIT_SESSION,
    RP_HANDOFF_ERR_LIMIT_DESCRIPTORS,
    RP_HANDOFF_ERR_LIMIT_BYTES,
    RP_HANDOFF_ERR_STRUCT_SIZE,
    RP_HANDOFF_ERR_BUSY,
    RP_HANDOFF_ERR_FORKED,
    RP_HANDOFF_ERR_TOKEN_COLLISION,
    RP_HANDOFF_ERR_TOKEN_MISSING,
    RP_HANDOFF_ERR_TOKEN_LENGTH,
    RP_HANDOFF_ERR_TOKEN_MISMATCH,
    RP_HANDOFF_ERR_TOKEN_EXPIRED,
    RP_HANDOFF_ERR_TOKEN_NOT_PENDING,
    RP_HANDOFF_ERR_TOKEN_IN_USE,
    RP_HANDOFF_ERR_ACK_OVERDUE,
    RP_HANDOFF_ERR_PATH_INVALID,
    RP_HANDOFF_ERR_PATH_UNSAFE,
    RP_HANDOFF_ERR_PATH_IN_USE,
    RP_HANDOFF_ERR_PATH_FOREIGN,
    RP_HANDOFF_ERR_PEER_REJECTED,
    RP_HANDOFF_ERR_PATH_LOCKED,
    RP_HANDOFF_ERR_FRAME_INCOMPLETE,
    RP_HANDOFF_ERR_FRAME_VERSION,
    RP_HANDOFF_ERR_FRAME_TOO_LARGE,
    RP_HANDOFF_ERR_FRAME_MALFORMED,
    RP_HANDOFF_ERR_FRAME_UNEXPECTED,
    RP_HANDOFF_ERR_UNEXPECTED_EOF,
    RP_HANDOFF_ERR_DESCRIPTORS,
    RP_HANDOFF_ERR_ANSWERED,
    RP_HANDOFF_ERR_REVOKED,
    RP_HANDOFF_ERR_PROTOCOL,
    RP_HANDOFF_ERR_EMPTY_HANDOFF,
    RP_HANDOFF_ERR_EMPTY_FALLBACK,
    RP_HANDOFF_ERR_P50_NOT_FASTER,
    RP_HANDOFF_ERR_P99_NOT_FASTER,
};

} // namespace

TEST_CASE("the version of the header, of the library and of the project are the same") {
    CHECK(rp_handoff_version() ==
          RP_HANDOFF_VERSION_MAJOR * 1000000U + RP_HANDOFF_VERSION_MINOR * 1000U + RP_HANDOFF_VERSION_PATCH);
    CHECK(std::string(rp_handoff_version_string()) == PROJECT_VERSION);
    CHECK(std::string(rp_handoff_version_string()) == std::to_string(RP_HANDOFF_VERSION_MAJOR) + "." +
                                                          std::to_string(RP_HANDOFF_VERSION_MINOR) + "." +
                                                          std::to_string(RP_HANDOFF_VERSION_PATCH));
    CHECK(rp_handoff_version_string() == rp_handoff_version_string());
}

TEST_CASE("every status has a sentence of its own") {
    const std::string unknown = rp_handoff_strerror(2);
    std::set<std::string> texts;
    for (const std::int32_t status : all_statuses) {
        const std::string text = rp_handoff_strerror(status);
        CHECK(text != "");
        CHECK(text != unknown);
        CHECK_MESSAGE(texts.insert(text).second, text);
    }
}

TEST_CASE("every other number is an unknown status") {
    const std::set<std::int32_t> known(std::begin(all_statuses), std::end(all_statuses));
    const char *const unknown = rp_handoff_strerror(2);
    REQUIRE(unknown != nullptr);
    CHECK(std::string(unknown) != "");
    for (std::int32_t status = -200; status <= 200; ++status) {
        CHECK_MESSAGE((rp_handoff_strerror(status) == unknown) == (known.count(status) == 0), status);
    }
    for (const std::int32_t status : {INT32_MIN, INT32_MIN + 1, INT32_MAX, RP_HANDOFF_CALLBACK_OK + 0}) {
        CHECK(rp_handoff_strerror(status) == unknown);
    }
}

TEST_CASE("success is zero or positive, every error is negative") {
    for (const std::int32_t status : all_statuses) {
        CHECK((status >= 0) == (status == RP_HANDOFF_OK || status == RP_HANDOFF_ACK_UNDELIVERED));
    }
    CHECK(RP_HANDOFF_CALLBACK_OK != 0);
    CHECK(RP_HANDOFF_CALLBACK_OK != 1);
}

TEST_CASE("the platform passes descriptors and says whether in-flight limits apply") {
    auto platform = sized<rp_handoff_platform>();
    platform.descriptor_passing = -1;
    platform.in_flight_exempt = -1;
    REQUIRE(rp_handoff_get_platform(&platform) == RP_HANDOFF_OK);
    CHECK(platform.descriptor_passing == 1);
#if HAVE_LIBCAP
    CHECK((platform.in_flight_exempt == RP_HANDOFF_EXEMPT_NO || platform.in_flight_exempt == RP_HANDOFF_EXEMPT_YES));
#else
    CHECK(platform.in_flight_exempt == RP_HANDOFF_EXEMPT_UNKNOWN);
#endif
}
