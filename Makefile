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
ISOLATION_OPTS = $(SERVER_OPTS) --temp-instance=tmp_check_iso --inputdir=test

PG_CPPFLAGS = -Isrc
PG_CFLAGS += -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK +=

# Bitcode for inlining buys nothing here and would need clang on every machine.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS tracks no headers: any change to one rebuilds everything.
$(OBJS): $(wildcard src/*/*.h)

FORMATTER ?= clang-format

.PHONY: format format-check floors-check

format:
	$(FORMATTER) -i $(shell find src -name '*.[ch]')

format-check:
	$(FORMATTER) --dry-run -Werror $(shell find src -name '*.[ch]')

floors-check:
	@test/check_floors.sh $(FLOORS)
