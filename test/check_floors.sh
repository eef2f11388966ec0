#!/bin/sh
#
# check_floors.sh FLOOR...
#
# Checks that src/ stands as a tower, its floors named from the lowest up: a
# file includes its own floor, the lowest one, and of the floors between only
# their doors, <floor>/<floor>.h.  Checks also that PostgreSQL versions are
# told apart in base/compat.h alone, that no file has more than 500 lines and no
# function more than 60, and that every error that a user can cause comes with a
# detail and a hint.

every=$(echo "$*" | tr ' ' '|')
allowed="$1/"
status=0

for floor in "$@"
do
    [ -d "src/$floor" ] || continue
    if grep -EnH "^#include \"($every)/" src/"$floor"/*.[ch] |
        grep -Ev "\"($allowed|$floor/)"
    then
        echo "floor \"$floor\" may not include the above" >&2
        status=1
    fi
    allowed="$allowed|$floor/$floor\\.h"
done

if grep -rn PG_VERSION_NUM src | grep -v '^src/base/compat.h:'
then
    echo "PostgreSQL versions are told apart in src/base/compat.h only" >&2
    status=1
fi

long=$(awk '
    FNR == 1 { start = 0 }
    FNR == 501 { print FILENAME ": more than 500 lines" }
    /^{/ { start = FNR }
    /^}/ && start { if (FNR - start > 61) print FILENAME ":" start ": more than 60 lines"; start = 0 }
    ' src/*.c src/*/*.[ch] demo/*.[ch] bench/*.[ch] test/store/*.[ch] test/memcheck/*.c)
if [ -n "$long" ]
then
    echo "$long"
    status=1
fi

# An ereport ends where a line ends with ");".
bare=$(awk '
    /ereport\(/ { error = ""; start = FNR; open = 1 }
    open { error = error $0 }
    open && /\);$/ {
        open = 0
        if (error ~ /ereport\([[:space:]]*ERROR/ && (error !~ /errdetail/ || error !~ /errhint/) &&
            error !~ /ERRCODE_(OUT_OF_MEMORY|DATA_CORRUPTED)/)
            print FILENAME ":" start ": an error without detail or hint"
    }' src/*.c src/*/*.c)
if [ -n "$bare" ]
then
    echo "$bare"
    status=1
fi

exit $status
