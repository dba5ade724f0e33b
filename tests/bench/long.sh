# shellcheck shell=sh
# shellcheck disable=SC2154 # root is of tests/support/setup.sh
# Sourced by tests/run: a trial run of the benchmarks, which shows that they work, not what they measure.

bench() {
    CC=gcc CXX=g++ configure_and_build "$root/build/bench" --buildtype=release -Dwerror=true -Dtests=false \
        -Dbenchmarks=true && "$root/tests/bench/run" "$root/build/bench/tests/bench" --quick
}

if install_packages libbenchmark-dev; then
    install_packages libuv1-dev strace gnuplot-nox || true # without them, tests/bench/run says what it leaves out
    suite bench bench
else
    skip bench "libbenchmark-dev is missing"
fi
