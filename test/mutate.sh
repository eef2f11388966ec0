# shellcheck shell=bash
#
# mutate.sh: mistakes made on purpose, for `make mutants` and the checker; to
# be sourced after lib.sh.  test/mutants.list has them.

# change FILE EXPRESSION: "a + b" are two, each of which must change the file
change()
{
    local file=$1 part rest=$2

    while [ -n "$rest" ]
    do
        part=${rest%% + s/*}
        [ "$part" = "$rest" ] && rest= || rest=s/${rest#*" + s/"}
        cp "$file" "$file.before"
        perl -0777 -pi -e "$part" "$file" || return 1
        if cmp -s "$file" "$file.before"
        then
            say "nothing to change in $file: $part" >&2
            rm -f "$file.before"
            return 1
        fi
        rm -f "$file.before"
    done
}

# apply FILE EXPRESSION [& FILE EXPRESSION]
apply()
{
    local file=$1 rest=$2

    while :
    do
        if [ "$rest" = "${rest#*" & src/"}" ]
        then
            change "$RUN/mutant/$file" "$rest"
            return
        fi
        change "$RUN/mutant/$file" "${rest%%" & src/"*}" || return 1
        rest=src/${rest#*" & src/"}
        file=${rest%%" & "*}
        rest=${rest#*" & "}
    done
}

# Was the mutant asked for?  Without names all are.
is_wanted()
{
    local mutant=$1 pattern

    shift
    [ $# != 0 ] || return 0
    for pattern in "$@"
    do
        # shellcheck disable=SC2254 # it is a pattern
        case "$mutant" in $pattern) return 0 ;; esac
    done
    return 1
}

# make_mutant FILE EXPRESSION: builds and installs it, from $RUN/mutant.
make_mutant()
{
    rm -rf "$RUN/mutant"
    cp -a "$RUN/src" "$RUN/mutant"
    : >"$RUN/log/build.log"
    apply "$1" "$2" && watched "$RUN/log/build.log" make -C mutant -j"$(nproc)" all install
}

# each_mutant COMMAND [PATTERN...]: COMMAND NAME WHAT SUITES FILE EXPRESSION for
# each that was asked for, without patterns for all.
each_mutant()
{
    local command=$1 name what suites file expression

    shift
    while IFS='|' read -r name what suites && read -r file && read -r expression
    do
        name=$(echo "$name" | xargs)
        what=$(echo "$what" | sed 's/^ *//; s/ *$//')
        is_wanted "$name" "$@" || continue
        "$command" "$name" "$what" "$suites" "$file" "$expression"
    done < <(grep -v -e '^#' -e '^$' "$REPO/test/mutants.list")
}
