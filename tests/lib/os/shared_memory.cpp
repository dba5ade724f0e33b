// The memory of a ledger: what a side makes is fit to be shared, and of what a peer sends only such is mapped.
#include <doctest/doctest.h>

#include <cerrno>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "session/ledger.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using namespace rp::test;

namespace {

constexpr int all_seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

UniqueFd memory(std::size_t size, int seals, unsigned flags = 0) {
    UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
    REQUIRE(fd);
    REQUIRE(ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
    REQUIRE((seals == 0 || fcntl(fd.get(), F_ADD_SEALS, seals) == 0));
    return fd;
}

Status status_of_attach(UniqueFd file, std::uint32_t slots) {
    return status_of(Ledger::attach(std::move(file), slots));
}

} // namespace

TEST_CASE("the memory that a side makes is of its size, empty, taken already, and close-on-exec") {
    for (const std::size_t size : {std::size_t{64}, std::size_t{4096}, std::size_t{4096 * 64}}) {
        const Result<UniqueFd> file = os::create_shared_file(size);
        REQUIRE(file);
        struct stat info {};
        REQUIRE(fstat(file->get(), &info) == 0);
        CHECK(info.st_size == static_cast<off_t>(size));
        CHECK(static_cast<std::size_t>(info.st_blocks) * 512 >= size);
        CHECK((fcntl(file->get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK(os::check_shared_file(file->get(), size) == Status::ok);
        CHECK(os::check_shared_file(file->get(), size + 1) == Status::protocol);
        CHECK(os::check_shared_file(file->get(), size - 1) == Status::protocol);
        Result<os::SharedMemory> mapped = os::SharedMemory::map(file->get(), size);
        REQUIRE(mapped);
        const auto *bytes = static_cast<const std::uint8_t *>(mapped->address());
        CHECK(std::all_of(bytes, bytes + size, [](std::uint8_t byte) { return byte == 0; }));
    }
}

TEST_CASE("memory beyond the limit of a file's size is an error, and no signal") {
    const rlimit limit{4096, 4096};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(status_of(os::create_shared_file(4096)) == Status::ok);
    CHECK(status_of(os::create_shared_file(4097)) == Status::system);
    CHECK(errno == EFBIG);
}

TEST_CASE("two mappings of the same memory are the same, and one outlives its descriptor") {
    Result<UniqueFd> file = os::create_shared_file(4096);
    REQUIRE(file);
    Result<os::SharedMemory> first = os::SharedMemory::map(file->get(), 4096);
    Result<os::SharedMemory> second = os::SharedMemory::map(file->get(), 4096);
    file->reset();
    REQUIRE(first);
    REQUIRE(second);
    *static_cast<int *>(first->address()) = 42;
    CHECK(*static_cast<int *>(second->address()) == 42);
    os::SharedMemory moved = std::move(*first);
    CHECK(first->address() == nullptr);
    CHECK(*static_cast<int *>(moved.address()) == 42);
}

TEST_CASE("what is no file of the right size is not attached, and closed") {
    CHECK(status_of_attach(UniqueFd(), 1) == Status::protocol);
    CHECK(status_of_attach(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)), 1) == Status::protocol);
    CHECK(status_of_attach(UniqueFd(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), 1) == Status::protocol);
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK(status_of_attach(UniqueFd(ends[0]), 1) == Status::protocol);
    CHECK(status_of_attach(UniqueFd(ends[1]), 1) == Status::protocol);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(status_of_attach(UniqueFd(ends[0]), 1) == Status::protocol);
    CHECK(status_of_attach(UniqueFd(ends[1]), 1) == Status::protocol);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{127}, std::size_t{129}}) {
        CHECK(status_of_attach(memory(size, all_seals), 2) == Status::protocol);
    }
    CHECK(status_of_attach(memory(128, all_seals), 2) == Status::ok);
}

#if SHARED_MEMORY_IS_SEALED

TEST_CASE("the memory that a side makes can be neither resized nor sealed any further, by nobody") {
    const Result<UniqueFd> file = os::create_shared_file(4096);
    REQUIRE(file);
    CHECK((fcntl(file->get(), F_GET_SEALS) & all_seals) == all_seals);
    CHECK(ftruncate(file->get(), 0) == -1);
    CHECK(ftruncate(file->get(), 8192) == -1);
    CHECK(fallocate(file->get(), 0, 0, 8192) == -1);
    CHECK(fcntl(file->get(), F_ADD_SEALS, F_SEAL_WRITE) == -1);
}

TEST_CASE("without every one of the seals nothing is attached") {
    for (int seals = 0; seals <= all_seals; ++seals) {
        if ((seals & ~all_seals) == 0) {
            CHECK(status_of_attach(memory(64, seals), 1) == (seals == all_seals ? Status::ok : Status::protocol));
        }
    }
}

TEST_CASE("regular files and shared memory with a name have no such seals") {
    char name[] = "/tmp/rp_handoff.XXXXXX";
    UniqueFd file(mkostemp(name, O_CLOEXEC));
    REQUIRE(file);
    unlink(name);
    REQUIRE(ftruncate(file.get(), 64) == 0);
    CHECK(status_of_attach(std::move(file), 1) == Status::protocol);
    UniqueFd shared(shm_open("/rp_handoff_test", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    REQUIRE(shared);
    shm_unlink("/rp_handoff_test");
    REQUIRE(ftruncate(shared.get(), 64) == 0);
    CHECK(status_of_attach(std::move(shared), 1) == Status::protocol);
}

TEST_CASE("memory that cannot be written to is not attached") {
    CHECK(status_of_attach(memory(64, all_seals | F_SEAL_WRITE), 1) == Status::system);
    const UniqueFd writable = memory(64, all_seals);
    const std::string path = "/proc/self/fd/" + std::to_string(writable.get());
    CHECK(status_of_attach(UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC)), 1) == Status::system);
}

TEST_CASE("huge pages, which may not be there when they are touched, are not attached") {
    UniqueFd huge(memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
    constexpr std::uint32_t slots = 2 * 1024 * 1024 / 64;
    if (huge && ftruncate(huge.get(), slots * 64) == 0) { // where the kernel has them
        REQUIRE(fcntl(huge.get(), F_ADD_SEALS, all_seals) == 0);
        CHECK(status_of_attach(std::move(huge), slots) == Status::protocol);
    }
}

TEST_CASE("a page that a peer has punched a hole into reads as empty, and can be written") {
    Result<Ledger> ledger = Ledger::create(64);
    REQUIRE(ledger);
    ledger->offer(5, 1, token_of(1));
    REQUIRE(fallocate(ledger->file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
    const Ledger::Settled settled = ledger->settle(5, 1);
    CHECK(settled.owner == Ownership::backend);
    CHECK(settled.violated);
    ledger->offer(5, 2, token_of(1));
    CHECK(ledger->adopt(5, 2, token_of(1)) == Ledger::Adoption::adopted);
}

#else

TEST_CASE("the memory that a side makes has no name any more") {
    const Result<UniqueFd> file = os::create_shared_file(4096);
    REQUIRE(file);
    struct stat info {};
    REQUIRE(fstat(file->get(), &info) == 0);
    CHECK(info.st_nlink == 0);
}

#endif
