#!/bin/sh
# Runs the command if this is root, who can become other users; otherwise says so, in the way that Meson knows.
if [ "$(id -u)" != 0 ]; then
    echo "skipped: needs root, to become other users"
    exit 77
fi
exec "$@"
