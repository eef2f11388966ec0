# cachegrid: a shared-memory cache for PostgreSQL, mirrored to Redis Cluster

EXTENSION = cachegrid
MODULE_big = $(EXTENSION)
PGFILEDESC = "cachegrid - shared-memory cache mirrored to Redis Cluster"

# The floors of src/, lowest first: a floor may use only those before it.
FLOORS = base store coherence cache outbox capture redis mirror load worker api
SOURCES = $(foreach floor,$(FLOORS),$(sort $(wildcard src/$(floor)/*.c))) src/cachegrid.c
OBJS = $(SOURCES:.c=.o)

# In sql/, a name with "--" is an extension script; the others are tests.
DATA = $(wildcard sql/$(EXTENSION)--*.sql)
REGRESS = $(filter-out $(EXTENSION)--%,$(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql))))
ISOLATION = $(sort $(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec)))
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl
PROVE_FLAGS += -I test/perl

# Each suite starts a server of its own, so none needs one preloaded.
SERVER_OPTS = --load-extension=$(EXTENSION) --temp-config=test/postgresql.conf
REGRESS_OPTS = $(SERVER_OPTS) --temp-instance=tmp_check
ISOLATION_OPTS = $(SERVER_OPTS) --temp-config=test/isolation.conf --temp-instance=tmp_check_iso --inputdir=test

PG_CPPFLAGS = -Isrc
PG_CFLAGS += -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK += -lhiredis $(or $(shell pkg-config --libs liblz4 2>/dev/null),-llz4)

# TLS to Redis needs OpenSSL and a part of hiredis that came with its version 1.
ifeq ($(shell $(CC) -E -include hiredis/hiredis_ssl.h -include openssl/ssl.h -x c /dev/null >/dev/null 2>&1 && echo yes), yes)
PG_CPPFLAGS += -DCACHEGRID_TLS
SHLIB_LINK += -lhiredis_ssl -lssl -lcrypto
endif

# Nobody replaces our functions by others of their names: call them directly.
PG_CFLAGS += -fno-semantic-interposition
ifeq ($(shell uname), Linux)
SHLIB_LINK += -Wl,-Bsymbolic
endif

# For make test-valgrind: tell it what palloc hands out.
ifneq ($(filter -DMEMCHECK,$(COPT)),)
OBJS += test/memcheck/palloc.o
SHLIB_LINK += -Wl,--wrap=palloc -Wl,--wrap=MemoryContextAlloc
endif

# Bitcode for inlining buys nothing here and would need clang on every machine.
override with_llvm = no

EXTRA_CLEAN = demo/replay bench/bench bench/inside.so test/checker/checker test/checker/inside.so \
	test/chaos/chaos test/store/probe.so

# Of the TAP tests, those of the store's memory.
STORE_TESTS = 002_memory 003_store_race 003_stress 004_limits 004_store_accounts 005_store_failures

# These goals need no PostgreSQL at hand: they find or install one, or none.
SCRIPTED = test test-long test-sanitized test-valgrind matrix demo bench bench-scale bench-stampede check-model \
	check-consistency check-mirror mutants format format-check floors-check

ifneq ($(filter-out $(SCRIPTED),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS tracks no headers: any change to one rebuilds everything.
$(OBJS): $(wildcard src/*/*.h)

# The clients of demo and bench; demo/run and bench/run build and use them.
CLIENT_CFLAGS = -O2 -g -Wall -Wextra -I$(shell $(PG_CONFIG) --includedir)

demo/replay: $(wildcard demo/*.[ch])
	$(CC) $(CLIENT_CFLAGS) -o $@ $(filter %.c,$^) -lpq -lhiredis -lpthread -lm

bench/bench: $(wildcard bench/*.[ch])
	$(CC) $(CLIENT_CFLAGS) -o $@ $(filter %.c,$^) -lpq -lhiredis -lpthread -lm

# What the bench does inside a session.
bench/inside.so: $(wildcard bench/inside/*.[ch])
	$(CC) $(CFLAGS) $(CFLAGS_SL) $(CPPFLAGS) -shared -o $@ $(filter %.c,$^)

test/checker/checker: $(wildcard test/checker/*.[ch] test/shared/*.[ch])
	$(CC) $(CLIENT_CFLAGS) -o $@ $(filter %.c,$^) -lpq -lpthread -lm

test/chaos/chaos: $(wildcard test/chaos/*.[ch] test/shared/*.[ch])
	$(CC) $(CLIENT_CFLAGS) -o $@ $(filter %.c,$^) -lpq -lhiredis -lpthread -lm

# What the checker asks within a session.
test/checker/inside.so: $(wildcard test/checker/inside/*.[ch])
	$(CC) $(CFLAGS) $(CFLAGS_SL) $(CPPFLAGS) -shared -o $@ $(filter %.c,$^)

# What the tests do inside a session: with a copy of the store, some of whose
# functions are led elsewhere.
PROBE_PARTS = $(filter src/base/%.o src/store/%.o,$(OBJS))

test/store/probe.so: $(wildcard test/store/*.[ch]) $(PROBE_PARTS)
	$(CC) $(CFLAGS) $(CFLAGS_SL) $(CPPFLAGS) -shared -o $@ $(filter %.c %.o,$^) \
		-Wl,-Bsymbolic -Wl,--wrap=cg_arena_allocate_locked

installcheck: test/store/probe.so
endif

FORMATTER ?= clang-format

.PHONY: $(SCRIPTED)
export PG_CONFIG SEED MUTANT CALM

# Runs every suite; `make test ONLY="regress:values tap"` runs some.
test:
	@test/run $(ONLY)

# The long stress of the store; `make test-long OPERATIONS=1000000` is a shorter one.
test-long:
	@$(if $(OPERATIONS),OPERATIONS=$(OPERATIONS)) test/long

# Suites of a build that stops at a false assertion and at undefined behaviour, and
# takes the code for processors without SSE2.
test-sanitized:
	@COPT='-DUSE_ASSERT_CHECKING -U__SSE2__ -fsanitize=undefined -fno-sanitize-recover=undefined' \
		test/run $(or $(ONLY),regress isolation $(STORE_TESTS:%=tap:%))

# Tests against a server under valgrind's memcheck; `make test-valgrind ONLY=values`.
test-valgrind:
	@test/valgrind $(ONLY)

# The suites on newer PostgreSQL, each in a Debian of its own.
matrix:
	@test/matrix

# What it is good for, in one table; `make demo SECONDS=20` is a shorter one.
demo:
	@demo/run $(if $(SECONDS),--seconds $(SECONDS))

# What it measures beside its peers; `make bench QUICK=1` is a rough one, and
# `make bench ONLY=mget` prints the rows whose names hold the words.
bench:
	@bench/run $(if $(QUICK),--quick) $(if $(ONLY),"$(ONLY)")

# The time of a call by the number of entries, and what many sessions do at once;
# draws docs/scale.svg and docs/contention.svg.
bench-scale:
	@bench/run $(if $(QUICK),--quick) --curves

# What the database is asked when a thousand keys expire at once; draws docs/stampede.svg.
bench-stampede:
	@bench/run --stampede

# Makes one mistake after the other, to see the tests fail; ONLY names some.
mutants:
	@test/mutants $(foreach name,$(ONLY),'$(name)')

# The model of the coherence protocol; `make check-model FULL=1` walks all of it.
check-model:
	@test/model/run $(if $(FULL),--full)

# Sessions of all sorts, whose every value from the cache is compared with the
# rows, for SECONDS=n; SEED=n; MUTANT=name, or protocol: is it caught, and when?
check-consistency:
	@CHECKER_SECONDS=$(SECONDS) test/checker/run

# Sessions that write to mirrored tables, while everything around them is killed
# and cut, for SECONDS=n; SEED=n; CALM=1; MUTANT=name: is it noticed, and when?
check-mirror:
	@CHAOS_SECONDS=$(SECONDS) test/chaos/run

format:
	$(FORMATTER) -i $(shell find src demo bench test -name '*.[ch]')

format-check:
	$(FORMATTER) --dry-run -Werror $(shell find src demo bench test -name '*.[ch]')

floors-check:
	@test/check_floors.sh $(FLOORS)
	@test/check_coverage.sh
	@test/check_mutants.sh
