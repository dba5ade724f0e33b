# shellcheck shell=sh
# shellcheck disable=SC2154 # root is of tests/support/setup.sh
# Sourced by tests/run: holds the library against the published crate, which takes cargo and its registry.

interop() {
    CC=gcc CXX=g++ configure_and_build "$root/build/gcc" -Dwerror=true && "$root/tests/interop/run" "$root/build/gcc"
}

install_packages strace || true # without it, tests/interop/run skips by name what it needs it for
suite interop interop
