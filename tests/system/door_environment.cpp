// The time-outs that the environment sets.
#include "support/client.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t ms = 1'000'000;

struct Setting {
    const char *value;
    std::uint64_t timeout_ns; // 0: as if it were not set
};

const Setting settings[] = {
    {"1", ms},
    {"250", 250 * ms},
    {"  250", 250 * ms},
    {"250\t\n", 250 * ms},
    {" \v\f\r 250 ", 250 * ms},
    {"0250", 250 * ms},
    {"", 0},
    {"   ", 0},
    {"0", 0},
    {"00", 0},
    {"-1", 0},
    {"-0", 0},
    {"250ms", 0},
    {"2 50", 0},
    {"2.5", 0},
    {"0x10", 0},
    {"1e3", 0},
    {"garbage", 0},
    {"\xEF\xBC\x91", 0}, // a digit, but not of ours
    {"18446744073709552000", 0},
    {"18446744073709551616", 0},
    {"99999999999999999999999999", 0},
};

// The longest that still fits from where the clock stands, and nanoseconds that no longer fit into 64 bits.
constexpr const char *longest_ms = "18446743073709";
constexpr const char *too_long_ms = "18446744073710";

class Variable {
  public:
    Variable(const char *name, const char *value) : name_(name) { REQUIRE(setenv(name, value, 1) == 0); }
    Variable(const Variable &) = delete;
    Variable &operator=(const Variable &) = delete;
    ~Variable() { unsetenv(name_); }

  private:
    const char *name_;
};

std::uint64_t hello_timeout(const char *value, std::uint64_t option = 0) {
    const Variable variable("RUNNING_PROCESS_BROKER_HELLO_TIMEOUT_MS", value);
    auto options = sized<rp_handoff_front_door_options>();
    options.hello_timeout_ns = option;
    const House house(sized<rp_handoff_broker_options>(), options);
    const std::uint64_t start = house.time.now;
    check_dropped(house.serve(Guest()), RP_HANDOFF_ERR_TIMED_OUT);
    return house.time.now - start;
}

std::uint64_t client_timeout(const char *value, std::uint64_t option = 0) {
    const Variable variable("RUNNING_PROCESS_BROKER_CLIENT_TIMEOUT_MS", value);
    ClientScene scene;
    scene.request.timeout_ns = option;
    scene.on_hello = [](int) {};
    const std::uint64_t start = scene.time.now;
    CHECK(scene.connect() == RP_HANDOFF_ERR_TIMED_OUT);
    return scene.time.now - start;
}

} // namespace

TEST_CASE("a time-out of the environment is a positive number of milliseconds, or it is as if it were not set") {
    for (const Setting &setting : settings) {
        CAPTURE(setting.value);
        const std::uint64_t expected = setting.timeout_ns != 0 ? setting.timeout_ns : 30 * second;
        CHECK(hello_timeout(setting.value) == expected);
        CHECK(client_timeout(setting.value) == expected);
    }
}

TEST_CASE("a time-out of the environment that does not fit into nanoseconds is as if it were not set, and the longest "
          "is a year") {
    CHECK(hello_timeout(longest_ms) == 365 * 24 * 3600 * second);
    CHECK(client_timeout(longest_ms) == 365 * 24 * 3600 * second);
    CHECK(hello_timeout(too_long_ms) == 30 * second);
    CHECK(client_timeout(too_long_ms) == 30 * second);
}

TEST_CASE("what the caller says goes before the environment") {
    CHECK(hello_timeout("250", 3) == 3);
    CHECK(client_timeout("250", 3) == 3);
}

TEST_CASE("the environment counts when the front door is made, and for a client when it connects") {
    const House house;
    const Variable variable("RUNNING_PROCESS_BROKER_HELLO_TIMEOUT_MS", "250");
    const std::uint64_t start = house.time.now;
    house.serve(Guest());
    CHECK(house.time.now == start + 30 * second);
}

TEST_CASE("each side has its own variable") {
    const Variable one("RUNNING_PROCESS_BROKER_HELLO_TIMEOUT_MS", "250");
    CHECK(client_timeout("", 0) == 30 * second);
    const Variable other("RUNNING_PROCESS_BROKER_CLIENT_TIMEOUT_MS", "350");
    CHECK(hello_timeout("250") == 250 * ms);
}
