#!/bin/sh
#
# check_coverage.sh
#
# Checks that what test/README.md says covers something is there: a word
# `suite:test` names a test that exists, and what stands behind a slash in
# `suite:test/text` stands in that test.

status=0
references=$(mktemp)
trap 'rm -f "$references"' EXIT
grep -o '`[a-z]*:[a-z0-9_]*\(/[^`]*\)\{0,1\}`' test/README.md | tr -d '`' | sort -u >"$references"
while IFS= read -r reference
do
    test=${reference%%/*}
    text=
    [ "$test" = "$reference" ] || text=${reference#*/}
    case "$test" in
        regress:*) file=sql/${test#*:}.sql ;;
        isolation:*) file=test/specs/${test#*:}.spec ;;
        tap:*) file=test/t/${test#*:}.pl ;;
        pgtap:*) file=test/pgtap/${test#*:}.sql ;;
        model:*) file=test/model/${test#*:} ;;
        *) file= ;;
    esac
    if [ -z "$file" ] || [ ! -e "$file" ]
    then
        echo "test/README.md names a test that there is not: $reference" >&2
        status=1
    elif [ -n "$text" ] && ! grep -qF -- "$text" "$file"
    then
        echo "$file has no longer what test/README.md names: $text" >&2
        status=1
    fi
done <"$references"
[ "$(wc -l <"$references")" -ge 100 ] ||
    { echo "test/README.md names hardly any test" >&2; status=1; }
exit $status
