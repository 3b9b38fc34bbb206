#!/usr/bin/env bash
# Nothing of the mutants is in the product: no symbol, no name.  Usage: absent.sh PRODUCT MUTANTS
set -u
cd "$(dirname "$0")" || exit 1
count() {
    { nm "$1" | grep -o 'mutant_.*'
      strings -a "$1" | grep -xF "$(sed -n 's/^BUG(\([a-z0-9_]*\),.*/\1/p' mutants.def)"; } | wc -l
}
[ "$(count "$2")" -gt 0 ] || { echo "this check finds nothing, not even in $2"; exit 1; }
[ "$(count "$1")" -eq 0 ] || { echo "$1 has something of the mutants in it"; exit 1; }
