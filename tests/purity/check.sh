#!/bin/sh
# The core reads no clock, does no I/O and has no chance of its own: everything that its archive
# needs from outside is in allowed.txt, or in an object of base that is as pure.
# Usage: check.sh LIBVOLT_CORE.a LIBVOLT_BASE.a ALLOWED
set -eu
nm=${NM:-nm}
"$nm" -A "$1" "$2" | awk -v core="$(basename "$1")" -v list="$3" '
    BEGIN {
        while ((getline line < list) > 0)
            if (line ~ /^base /) { sub(/^base /, "", line); pure[line ".c.o"] = 1 }
            else if (line !~ /^(#|$)/) allowed[line] = 1
    }
    NF >= 2 {
        split($1, at, ":")          # archive:object:address type name
        object = at[2]; name = $NF; type = $(NF - 1)
        inside = at[1] ~ (core "$")
        if (type == "U" || type == "w") { if (inside) { wanted[name] = object; n++ } }
        else if (inside || object in pure) defined[name] = 1
    }
    END {
        for (name in wanted) {
            plain = name
            if (plain ~ /^__(asan|ubsan|tsan|sanitizer|sancov|gcov|stack_chk)/) continue
            if (plain ~ /^__.*_chk$/) { sub(/^__/, "", plain); sub(/_chk$/, "", plain) }
            if (!(name in defined) && !(plain in allowed)) {
                print wanted[name] " needs " name ", which no pure core may use" | "sort >&2"
                bad = 1
            }
        }
        if (n == 0) { print "no symbols were read"; bad = 1 }
        exit bad
    }'
