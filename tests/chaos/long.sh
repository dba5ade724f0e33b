# shellcheck shell=sh
# shellcheck disable=SC2154 # root is of tests/support/setup.sh
# Sourced by tests/run: 200,000 handoffs through the chaos, with and without prologues. For more of them, CHAOS_HANDOFFS.

chaos() {
    CC=gcc CXX=g++ configure_and_build "$root/build/gcc" -Dwerror=true || return
    good=0
    bad=0
    for prologues in "" --prologues; do
        # shellcheck disable=SC2086 # nothing, or a word
        if "$root/build/gcc/tests/chaos/chaos" --handoffs "${CHAOS_HANDOFFS:-200000}" --rounds 20 --seconds 3600 \
            $prologues; then
            good=$((good + 1))
        else
            bad=$((bad + 1))
        fi
    done
    echo "$good passed, $bad failed, 0 skipped"
    [ "$bad" = 0 ]
}

suite chaos chaos
