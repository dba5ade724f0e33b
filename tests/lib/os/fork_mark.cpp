// The mark by which a process tells its own handles from inherited ones: each process on a line of forks has one of its own,
// also where process ids repeat and where the kernel has no page that a fork empties.
#include <doctest/doctest.h>

#include <cstddef>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <set>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <vector>

#include "os/fork_mark.hpp"
#include "support/process.hpp"

using namespace rp::test;
using rp::handoff::os::fork_mark;

namespace {

// From now on this process's calls of `number` whose third argument is `value` fail with `error`.
void fail_calls(unsigned number, unsigned value, unsigned error) {
    const auto argument = static_cast<unsigned>(offsetof(seccomp_data, args) + 2 * sizeof(std::uint64_t));
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

// Down a line of children, each of which checks its own mark against those of all before it.
void check_line(std::set<std::uint64_t> before, int length) {
    const std::uint64_t own = fork_mark();
    must(own != 0 && fork_mark() == own);
    must(before.insert(own).second);
    if (length == 0) {
        return;
    }
    Child child([&](const Wire &) { check_line(before, length - 1); });
    must(child.wait() == 0);
    must(fork_mark() == own);
}

} // namespace

TEST_CASE("a process keeps its mark, and its children and grandchildren have others") {
    check_line({}, 4);
    check_line({}, 2); // siblings of those
}

TEST_CASE(
    "a grandchild has another mark than its grandparent, though the process between them never asked for its own") {
    const std::uint64_t own = fork_mark();
    Child child([&](const Wire &) {
        Child grandchild([&](const Wire &) { must(fork_mark() != own); });
        must(grandchild.wait() == 0);
        must(fork_mark() != own);
    });
    CHECK(child.wait() == 0);
}

TEST_CASE("where no page is emptied by a fork the mark is another one in a child all the same") {
    fail_calls(SYS_madvise, MADV_WIPEONFORK, EINVAL);
    check_line({}, 3);
}

TEST_CASE("threads that ask at the same time, the first ones ever, all get the same mark") {
    for (int round = 0; round < 50; ++round) {
        Child child([](const Wire &) {
            std::vector<std::uint64_t> marks(8);
            std::vector<std::thread> threads;
            for (std::uint64_t &mark : marks) {
                threads.emplace_back([&mark] { mark = fork_mark(); });
            }
            for (std::thread &thread : threads) {
                thread.join();
            }
            must(std::set<std::uint64_t>(marks.begin(), marks.end()).size() == 1);
        });
        REQUIRE(child.wait() == 0);
    }
}

TEST_CASE("a process that is 1 in its pid namespace has another mark than its child that is 1 in another") {
    Child outside([](const Wire &) {
        if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
            std::printf("no pid namespaces here: skipped\n");
            return;
        }
        Child first([](const Wire &) {
            const std::uint64_t own = fork_mark();
            must(getpid() == 1);
            must(unshare(CLONE_NEWPID) == 0);
            Child second([&](const Wire &) {
                must(getpid() == 1);
                must(fork_mark() != own);
            });
            must(second.wait() == 0);
        });
        must(first.wait() == 0);
    });
    CHECK(outside.wait() == 0);
}
