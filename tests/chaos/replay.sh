#!/bin/sh
# replay.sh CHAOS: what happens in a run is what its seed stands for, from the first action on.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" --seed 5 --handoffs 3000 --rounds 2 --actions >"$work/run" || {
    cat "$work/run"
    exit 1
}
grep '^after ' "$work/run" >"$work/seen"
count=$(wc -l <"$work/seen")
"$1" --seed 5 --schedule "$((count + 1))" | head -n "$count" >"$work/wanted"
[ "$count" -gt 5 ] && cmp "$work/seen" "$work/wanted"
