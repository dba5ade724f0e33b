# shellcheck shell=sh
# shellcheck disable=SC2154 # root is of tests/support/setup.sh
# Sourced by tests/run: two minutes of fuzzing.

fuzz() {
    CC=clang CXX=clang++ configure_and_build "$root/build/fuzz" -Dfuzzers=true -Dtests=false -Db_lundef=false &&
        (cd "$root/build/fuzz" && sh "$root/tests/fuzz/run" 40 .) # what breaks a target stays there
}

if install_packages clang libclang-rt-14-dev; then
    suite fuzz fuzz
else
    skip fuzz "clang with its run-time library is missing"
fi
