#!/bin/bash
#
# check_mutants.sh
#
# Checks that each mutant of test/mutants.list still changes what it is to change:
# else nobody hears, until all of them are run, that it is no mistake any more.
# They are not built.

REPO=$(cd "$(dirname "$0")/.." && pwd)
RUN=$(mktemp -d)
trap 'rm -rf "$RUN"' EXIT
status=0
. "$REPO/test/mutate.sh"

say()
{
    echo "$@"
}

# mutant NAME WHAT SUITES FILE EXPRESSION
mutant()
{
    rm -rf "$RUN/mutant"
    cp -a "$RUN/sources" "$RUN/mutant"
    if ! apply "$4" "$5" 2>"$RUN/error"
    then
        echo "test/mutants.list: $1 changes nothing any more" >&2
        status=1
    fi
}

mkdir "$RUN/sources"
(cd "$REPO" && find src sql -type f ! -name '*.o' ! -name '*.bc' -exec cp --parents -t "$RUN/sources" {} +)
each_mutant mutant
exit $status
