# shellcheck shell=sh disable=SC2034 # variables are for those who source this
# Sourced by tests/demo and tests/run: installs what is missing, and builds.

root=$(cd "$(dirname "$0")/.." && pwd)
build_packages="g++ meson ninja-build pkg-config libcap-dev libprotozero-dev libexpected-dev libutfcpp-dev"

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

missing_of() {
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || printf '%s ' "$package"
    done
}

# Installs Debian packages if they are missing. Status 1 if that cannot be done here; then $missing tells which.
install_packages() {
    command -v dpkg >/dev/null || return 0 # not Debian: the build will tell what it misses
    missing=$(missing_of "$@")
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root="sudo env"
    fi
    echo "installing: $missing"
    # shellcheck disable=SC2086 # a list of words
    {
        $as_root apt-get update -q &&
            $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
    } >"$work/apt.log" 2>&1 || {
        tail -n 5 "$work/apt.log" >&2
        return 1
    }
}

require_packages() {
    install_packages "$@" || fail "Please run: apt-get update && apt-get install -y --no-install-recommends $missing"
}

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
    "$@" >"$work/build.log" 2>&1 || {
        tail -n 40 "$work/build.log" >&2
        return 1
    }
}

# configure DIRECTORY [meson options]
configure() {
    directory=$1
    shift
    if [ -e "$directory/build.ninja" ]; then
        set -- --reconfigure "$@"
    fi
    quietly meson setup "$@" "$directory" "$root"
}

# configure_and_build DIRECTORY [meson options]
configure_and_build() {
    configure "$@" && quietly meson compile -C "$1"
}

work=$(mktemp -d)
chmod 700 "$work"
