# shellcheck shell=sh
# shellcheck disable=SC2154 # root and wanted are of tests/run and tests/support/setup.sh
# Sourced by tests/run: mutants, only if the suite is asked for by name. MUTATION has arguments of tests/mutation/run.

mutation() {
    # shellcheck disable=SC2086 # a list of words
    "$root/tests/mutation/run" ${MUTATION:-}
}

case $wanted in
*" mutation "*)
    if install_packages python3-venv binutils; then
        suite mutation mutation
    else
        skip mutation "python3-venv is missing"
    fi
    ;;
esac
