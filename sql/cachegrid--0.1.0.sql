/* sql/cachegrid--0.1.0.sql */

\echo Use "CREATE EXTENSION cachegrid" to load this file. \quit

-- roles ---------------------------------------------------------------------
-- Nothing is granted to PUBLIC.  A writer may do all that a reader may, an
-- admin all that a writer may.  Roles belong to all databases of the server,
-- so they may be there already, and stay when the extension is dropped.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY '{cachegrid_reader,cachegrid_writer,cachegrid_admin}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) role) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
END
$$;
GRANT cachegrid_reader TO cachegrid_writer;
GRANT cachegrid_writer TO cachegrid_admin;
GRANT USAGE ON SCHEMA cachegrid TO cachegrid_reader;
COMMENT ON SCHEMA cachegrid IS 'cachegrid: shared-memory cache, exact under every snapshot, mirrored to Redis Cluster';

-- values --------------------------------------------------------------------

CREATE FUNCTION get(key text) RETURNS text
    AS 'MODULE_PATHNAME', 'cachegrid_get'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION get(text) IS
'Text form of the key''s value; NULL on a miss or for a NULL key. A key is 1 to 512 bytes; the part before its first colon names its cache. Example: SELECT cachegrid.get(''session:42'');';

CREATE FUNCTION get(key text, type anyelement) RETURNS anyelement
    AS 'MODULE_PATHNAME', 'cachegrid_get_typed'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION get(text, anyelement) IS
'The key''s value in the type it was set with; NULL on a miss or for a NULL key; an error if it has another type. Only the type of the second argument counts. Example: SELECT cachegrid.get(''cart:7'', NULL::jsonb) -> ''total'';';

CREATE FUNCTION mget(keys text[]) RETURNS text[]
    AS 'MODULE_PATHNAME', 'cachegrid_mget'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION mget(text[]) IS
'Text forms of the values of many keys, in the order and length of keys; NULL for a miss or a NULL key. Example: SELECT cachegrid.mget(''{a,b,c}'');';

CREATE FUNCTION set(key text, value text, ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_set'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION set(text, text, interval, text[]) IS
'Sets the key as of the commit of this transaction, which itself sees the value at once. ttl NULL: the time to live of the key''s cache. tags: texts by which invalidate_tags finds the entry; NULL: none. A NULL key or value is an error. Example: SELECT cachegrid.set(''session:42'', ''alice'', ttl => ''30 minutes'');';

CREATE FUNCTION set(key text, value anyelement, ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_set'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION set(text, anyelement, interval, text[]) IS
'Sets the key as of the commit of this transaction; the value keeps its type and comes back without conversion from get(key, type). ttl NULL: the time to live of the key''s cache. tags: texts by which invalidate_tags finds the entry; NULL: none. A NULL key or value is an error. Example: SELECT cachegrid.set(''cart:7'', ''{"total": 3}''::jsonb);';

CREATE FUNCTION delete(VARIADIC keys text[]) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cachegrid_delete'
    LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION delete(text[]) IS
'Deletes the keys as of the commit of this transaction; returns how many of them it would have found. A NULL among the keys is an error. Example: SELECT cachegrid.delete(''session:42'', ''session:43'');';

CREATE FUNCTION "exists"(key text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_exists'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION "exists"(text) IS
'Would get find the key? True also for a key whose known value is NULL; NULL for a NULL key. Not counted as a hit or miss. Example: SELECT cachegrid.exists(''session:42'');';

CREATE FUNCTION add(key text, value text, ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_add'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION add(text, text, interval, text[]) IS
'Sets the key to value at once, and only if there is none: true if it was set. Not rolled back. Of several sessions that add the same key, one gets true. ttl NULL: the time to live of the key''s cache. tags NULL: none. A NULL key or value is an error. Example: SELECT cachegrid.add(''lock:report'', ''me'', ttl => ''1 minute'');';

CREATE FUNCTION add(key text, value anyelement, ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_add'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION add(text, anyelement, interval, text[]) IS
'As add(text, text, interval, text[]), for a value of any type. Example: SELECT cachegrid.add(''seen:7'', now());';

CREATE FUNCTION replace(key text, value text, ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_replace'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION replace(text, text, interval, text[]) IS
'Sets the key to value at once, and only if there is one: true if it was set. Not rolled back. Of the old entry nothing stays. ttl NULL: the time to live of the key''s cache. tags NULL: none. A NULL key or value is an error. Example: SELECT cachegrid.replace(''session:42'', ''bob'');';

CREATE FUNCTION replace(key text, value anyelement, ttl interval DEFAULT NULL, tags text[] DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_replace'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION replace(text, anyelement, interval, text[]) IS
'As replace(text, text, interval, text[]), for a value of any type. Example: SELECT cachegrid.replace(''cart:7'', ''{}''::jsonb);';

CREATE FUNCTION gets(key text, OUT value text, OUT version bigint)
    AS 'MODULE_PATHNAME', 'cachegrid_gets'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION gets(text) IS
'The text form of the key''s value and the version for cas; both NULL on a miss and for a NULL key; version NULL for what this transaction has set and not committed. Example: SELECT * FROM cachegrid.gets(''cart:7'');';

CREATE FUNCTION cas(key text, value text, version bigint, ttl interval DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_cas'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas(text, text, bigint, interval) IS
'Compare and set: sets the key to value at once, and only if its entry still has this version, from gets; true if it was set. Not rolled back. ttl NULL: the time to live of the key''s cache. The new entry has no tags. A NULL key, value or version is an error. Example: SELECT cachegrid.cas(''cart:7'', ''new'', version => 12);';

CREATE FUNCTION cas(key text, value anyelement, version bigint, ttl interval DEFAULT NULL) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_cas'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas(text, anyelement, bigint, interval) IS
'As cas(text, text, bigint, interval), for a value of any type. Example: SELECT cachegrid.cas(''cart:7'', ''{}''::jsonb, version => 12);';

CREATE FUNCTION incr(key text, by bigint DEFAULT 1, ttl interval DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cachegrid_incr'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION incr(text, bigint, interval) IS
'Adds by, 1 unless it is given, to the key''s integer at once, and returns the sum; a key that is not there begins at 0 and lives for ttl, one that is keeps its expiry, but not its tags. Not rolled back. ttl NULL: the time to live of the key''s cache. An error if the value is no integer, or key or by is NULL. Example: SELECT cachegrid.incr(''visits:home'');';

CREATE FUNCTION decr(key text, by bigint DEFAULT 1, ttl interval DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cachegrid_decr'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION decr(text, bigint, interval) IS
'Subtracts by, 1 unless it is given, from the key''s integer, as incr adds; ttl as there. A NULL key or by is an error. Example: SELECT cachegrid.decr(''tokens:alice'', 5);';

CREATE FUNCTION ttl(key text) RETURNS interval
    AS 'MODULE_PATHNAME', 'cachegrid_ttl'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION ttl(text) IS
'How long the key has to live; the largest interval (from PostgreSQL 17 on: infinity) if it does not expire; NULL if there is no such key. Example: SELECT cachegrid.ttl(''session:42'');';

CREATE FUNCTION expires_at(key text) RETURNS timestamptz
    AS 'MODULE_PATHNAME', 'cachegrid_expires_at'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION expires_at(text) IS
'When the key expires; infinity if it does not; NULL if there is no such key. Example: SELECT cachegrid.expires_at(''session:42'');';

CREATE FUNCTION expire(key text, ttl interval) RETURNS boolean
    AS 'MODULE_PATHNAME', 'cachegrid_expire'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION expire(text, interval) IS
'Gives the living key a new time to live, ttl, from now and at once; NULL: it never expires. A computed value that expires is given no more than it has left, as it may have been allowed for a ttl only. False if there is no such key. A NULL key is an error. Example: SELECT cachegrid.expire(''session:42'', ''1 hour'');';

CREATE FUNCTION clear(cache text DEFAULT NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'cachegrid_clear'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION clear(text) IS
'Removes all entries of the cache as of the commit of this transaction, in a time that does not depend on how many there are; NULL: of all caches of this database. Returns how many entries there were. Example: SELECT cachegrid.clear(''session'');';

CREATE FUNCTION entries(pattern text DEFAULT '*', OUT key text, OUT cache text, OUT type regtype, OUT bytes bigint,
                        OUT created_at timestamptz, OUT expires_at timestamptz, OUT tags text[]) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_entries'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION entries(text) IS
'The living entries of this database whose key matches the pattern, in which * stands for any text and ? for any character; none for NULL. bytes: of the value as it is kept, compressed or not; type: NULL for a known NULL; expires_at: infinity if never; in the past for a value that is kept as a stale one; tags: those that it was given, not what it depends on besides. What is set or removed meanwhile may be missing. Example: SELECT key, bytes FROM cachegrid.entries(''session:*'');';

-- computing on a miss -------------------------------------------------------

CREATE FUNCTION "fetch"(key text, query text, args text[] DEFAULT '{}',
    ttl interval DEFAULT NULL, tags text[] DEFAULT NULL)
RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cachegrid_fetch';

COMMENT ON FUNCTION "fetch"(text, text, text[], interval, text[]) IS
'The value of key: from the cache, or computed by query and kept. query: one SELECT with '
'parameters $1, $2 ..., run with the rights of the caller. No row gives NULL, which is kept too, as long as null_ttl of the cache allows; '
'one row with one column gives that column, with several an object; more rows are an error. '
'args: the parameters as text, NULL elements are NULL. ttl: how long the value may live; NULL: as '
'the cache says, and every table that is read must be watched. tags: names by which '
'invalidate_tags() ends it; NULL: none. key, query, args must not be NULL. '
'Example: SELECT cachegrid.fetch(''product:42'', ''SELECT to_jsonb(p) FROM product p WHERE id = $1'', ''{42}'')';

CREATE FUNCTION "fetch"(key text)
RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cachegrid_fetch_by_loader';

COMMENT ON FUNCTION "fetch"(text) IS
'The value of key: from the cache, or computed by the loader of its cache and kept. The parts of '
'the key after its prefix, split at each '':'', are the loader''s $1, $2 ...; the last takes the '
'rest. key must not be NULL. Example: SELECT cachegrid.fetch(''product:42'')';

CREATE FUNCTION fetch_many(keys text[])
RETURNS jsonb[]
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cachegrid_fetch_many';

COMMENT ON FUNCTION fetch_many(text[]) IS
'The values of many keys, in their order, as fetch(key) gives each: from the cache, or computed by the loaders of '
'their caches and kept. All keys of one cache that are not there are computed by one query, up to 1,000 at a time: by a loader that takes '
'keys as it says, by another one for all of them at once; only those that another session computes are waited '
'for. Each value depends on what its own key''s would. An error of a loader is that of all keys it was run for. '
'keys: an array of one dimension; a key may stand there more than once; empty: an empty array. NULL among the keys, or instead of them, is an error. '
'Example: SELECT cachegrid.fetch_many(''{product:42,product:43}'')';

CREATE FUNCTION fetch_row("row" anyelement, VARIADIC key text[])
RETURNS anyelement
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cachegrid_fetch_row';

COMMENT ON FUNCTION fetch_row(anyelement, text[]) IS
'The row of a table that cache_table() was called for: from the cache, or read and kept, in its own type with every column as it '
'is in the table. row: of the row type of the table; only its type counts. key: the columns of the primary key as text, in its order. NULL if there is '
'no such row. The row is kept beside the object that fetch() gives, with ''::row'' behind its key, and ends with it. A NULL key, or NULL in it, is an error. '
'Example: SELECT (cachegrid.fetch_row(NULL::product, ''42'')).price';

CREATE FUNCTION lookup(key text, tags text[] DEFAULT NULL, lease interval DEFAULT NULL,
    OUT value text, OUT token text, OUT must_load boolean)
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cachegrid_lookup';

COMMENT ON FUNCTION lookup(text, text[], interval) IS
'For values that are computed outside of SQL. A hit gives value, as text, and must_load false. A '
'miss gives must_load true and a token: compute the value after this call, then give it to fill() '
'with the token; it is kept only if nothing it depends on was invalidated meanwhile. A NULL token '
'says that the value cannot be kept now. tags: all that fill() will name; NULL: none. lease: how '
'long the computation may take. Meanwhile whoever looks the key up with a lease waits, as for '
'another session''s fetch() (wait_timeout and on_timeout of the cache), until fill() or give_up() '
'is called with the token, from whatever session, or until this session ends or the time has '
'passed; then one of them goes on. A session does not wait for what it has a lease for itself, '
'nor has it more than 16; roles do not wait for each other, as they are given none of each '
'other''s values. NULL: no lease, and no waiting: each who misses computes. key must '
'not be NULL. Example: SELECT * FROM cachegrid.lookup(''page:home'', ''{products}'', lease => ''10 seconds'')';

CREATE FUNCTION fill(key text, value text, token text, ttl interval DEFAULT NULL,
    tags text[] DEFAULT NULL)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cachegrid_fill';

COMMENT ON FUNCTION fill(text, text, text, interval, text[]) IS
'Keep a value that was computed after lookup() gave the token. False: it was not kept, because key '
'or a tag was invalidated meanwhile, a tag was not named to lookup(), or the token is NULL, not '
'of this key, or of an earlier run of the server. value: NULL is kept as a known NULL, no longer than null_ttl of the key''s cache. ttl: NULL: as the '
'cache says. tags: NULL: none. key must not be NULL. '
'Example: SELECT cachegrid.fill(''page:home'', ''<html>...'', token, ''1 hour'', ''{products}'') '
'FROM cachegrid.lookup(''page:home'', ''{products}'')';

CREATE FUNCTION fill(key text, value anyelement, token text, ttl interval DEFAULT NULL,
    tags text[] DEFAULT NULL)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cachegrid_fill';

COMMENT ON FUNCTION fill(text, anyelement, text, interval, text[]) IS
'As fill() of a text, for a value of any type, which it keeps. '
'Example: SELECT cachegrid.fill(''page:home'', ''{"a": 1}''::jsonb, token) FROM cachegrid.lookup(''page:home'')';

CREATE FUNCTION give_up(key text, token text)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'cachegrid_give_up';

COMMENT ON FUNCTION give_up(text, text) IS
'End the lease that lookup() gave with the token, as its value could not be computed: one of those who '
'wait goes on at once. False: there is no such lease, or none any more, or the token is NULL. key '
'must not be NULL. Example: SELECT cachegrid.give_up(''page:home'', token) FROM cachegrid.lookup(''page:home'', lease => ''10 seconds'')';

CREATE FUNCTION invalidate(VARIADIC keys text[])
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cachegrid_invalidate';

COMMENT ON FUNCTION invalidate(text[]) IS
'End the entries of these keys, and of what was computed from them, when this transaction commits. '
'Elements must not be NULL; a NULL array does nothing. '
'Example: SELECT cachegrid.invalidate(''product:42'', ''product:43'')';

CREATE FUNCTION invalidate_tags(VARIADIC tags text[])
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cachegrid_invalidate_tags';

COMMENT ON FUNCTION invalidate_tags(text[]) IS
'End all entries that carry one of these tags when this transaction commits. Elements must not be '
'NULL; a NULL array does nothing. Example: SELECT cachegrid.invalidate_tags(''category:7'')';

CREATE FUNCTION preload(cache text, keys text[])
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cachegrid_preload_keys';

COMMENT ON FUNCTION preload(text, text[]) IS
'Has the loader of a cache compute those of these keys that are not there, before somebody asks for them, and '
'returns how many it has; not those that another session computes already, nor those whose rows a running transaction changes. The '
'values are those of the caller''s role: other roles compute their own. What a loader that fails raises is raised, unless the '
'cache''s on_error survives it; what was loaded before stays. keys must all be of the cache, and not '
'NULL. A NULL argument is an error, and so is a transaction that has written. View cachegrid.stat_preload shows how '
'far it is. Example: SELECT cachegrid.preload(''product'', ARRAY[''product:42'', ''product:43''])';

CREATE FUNCTION preload(cache text, query text)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cachegrid_preload_query';

COMMENT ON FUNCTION preload(text, text) IS
'The same for the keys that a query gives, of one cache: a SELECT of one column, run with the rights of the caller, which must not write. A '
'NULL argument is an error, and so is a NULL key. Example: SELECT cachegrid.preload(''product'', $$SELECT ''product:'' || id FROM product ORDER BY id LIMIT 1000$$)';

GRANT EXECUTE ON FUNCTION
    "fetch"(text),
    fetch_many(text[]),
    fetch_row(anyelement, text[]),
    lookup(text, text[], interval),
    give_up(text, text)
TO cachegrid_reader;

GRANT EXECUTE ON FUNCTION
    "fetch"(text, text, text[], interval, text[]),
    fill(text, text, text, interval, text[]),
    fill(text, anyelement, text, interval, text[]),
    preload(text, text[]),
    preload(text, text),
    invalidate(text[]),
    invalidate_tags(text[])
TO cachegrid_writer;

-- policy --------------------------------------------------------------------

CREATE TABLE cache (
    name          name     PRIMARY KEY CHECK (name <> '' AND position(':' IN name::text) = 0),
    ttl           interval CHECK (ttl > interval '0' AND extract(epoch FROM ttl) <= 1e12),
    loader        text,
    transactional boolean  NOT NULL DEFAULT true,
    ttl_jitter    double precision NOT NULL DEFAULT 0 CHECK (ttl_jitter BETWEEN 0 AND 1),
    compress_above integer CHECK (compress_above BETWEEN 0 AND 16777216),
    max_memory    bigint CHECK (max_memory >= 65536),
    pinned        boolean NOT NULL DEFAULT false,
    wait_timeout  interval CHECK (wait_timeout >= interval '0'),
    on_timeout    text     NOT NULL DEFAULT 'compute' CHECK (on_timeout IN ('compute', 'error', 'stale')),
    lease_interval interval CHECK (lease_interval > interval '0'),
    null_ttl      interval CHECK (null_ttl >= interval '0'),
    on_error      text     NOT NULL DEFAULT 'raise' CHECK (on_error IN ('raise', 'null', 'stale')),
    load_timeout  interval CHECK (load_timeout > interval '0'),
    error_backoff interval CHECK (error_backoff > interval '0'),
    stale_ttl     interval CHECK (stale_ttl > interval '0'),
    soft_load_timeout interval CHECK (soft_load_timeout > interval '0'),
    loader_takes  text     NOT NULL DEFAULT 'parts' CHECK (loader_takes IN ('parts', 'key', 'keys')),
    loader_tags   text[]   CHECK (array_ndims(loader_tags) = 1 AND array_position(loader_tags, NULL) IS NULL),
    ttl_column    name,
    run_as        regrole,
    source        regclass,
    early_beta    double precision NOT NULL DEFAULT 0 CHECK (early_beta BETWEEN 0 AND 1e12),
    serve_invalidated interval CHECK (serve_invalidated > interval '0'),
    refresh_ahead double precision NOT NULL DEFAULT 0 CHECK (refresh_ahead BETWEEN 0 AND 1),
    keep_warm     text,
    keep_warm_role name,
    CHECK ((keep_warm IS NULL) = (keep_warm_role IS NULL))
);
COMMENT ON TABLE cache IS
'Named caches: policies for the keys whose part before the first colon is the name. Written by create_cache, alter_cache and drop_cache. Example: SELECT name, ttl FROM cachegrid.cache;';
COMMENT ON COLUMN cache.ttl IS 'time to live of entries that are given none; NULL: they do not expire';
COMMENT ON COLUMN cache.loader IS 'SELECT that computes a key''s value; $1, $2, ... are the parts of the key after its prefix, separated by colons';
COMMENT ON COLUMN cache.transactional IS 'do set and delete take effect at commit (true) or at once';
COMMENT ON COLUMN cache.ttl_jitter IS 'by how much of itself, 0 to 1, each time to live is shortened at most, at random';
COMMENT ON COLUMN cache.compress_above IS 'values of more bytes are compressed, if that saves at least an eighth; NULL: none';
COMMENT ON COLUMN cache.max_memory IS 'bytes of memory that the cache''s entries may take; NULL: no limit but cachegrid.memory';
COMMENT ON COLUMN cache.pinned IS 'do the cache''s entries stay while any of other caches can go';
COMMENT ON COLUMN cache.wait_timeout IS 'how long to wait for another session that computes the same key; NULL: cachegrid.lease_timeout';
COMMENT ON COLUMN cache.on_timeout IS 'what to do after that: compute, error, or stale: give a stale value';
COMMENT ON COLUMN cache.lease_interval IS 'time from the start of a key''s computation within which no other begins; NULL: none';
COMMENT ON COLUMN cache.null_ttl IS 'time to live of computed NULLs; 0: they are not kept; NULL: as of other values';
COMMENT ON COLUMN cache.on_error IS 'what fetch gives when a computation fails: raise, the error; null, NULL; stale, a stale value';
COMMENT ON COLUMN cache.load_timeout IS 'how long a computation may take; NULL: any time';
COMMENT ON COLUMN cache.error_backoff IS 'after a computation that failed, how long none of the key begins; twice as long after the next one, up to 64 times; NULL: not at all';
COMMENT ON COLUMN cache.stale_ttl IS 'how much longer than their time to live computed values are kept, to be given while they are computed anew; NULL: not at all';
COMMENT ON COLUMN cache.soft_load_timeout IS 'how long a computation may take while there is a stale value; NULL: as load_timeout';
COMMENT ON COLUMN cache.loader_takes IS 'parameters of the loader: parts, those of the key; key, the whole key; keys, an array of all keys that are to be computed, of which it returns rows';
COMMENT ON COLUMN cache.loader_tags IS 'tags that all values computed by the loader carry; NULL: none';
COMMENT ON COLUMN cache.ttl_column IS 'column of the loader''s result that is the value''s time to live; NULL: none is';
COMMENT ON COLUMN cache.run_as IS 'role by whose rights the loader runs, whoever fetches; NULL: by those of the caller';
COMMENT ON COLUMN cache.source IS 'table whose rows cache_table has the cache hold; NULL: none';
COMMENT ON COLUMN cache.early_beta IS 'how eagerly values are computed anew before they expire, 1 as a rule; 0: not before';
COMMENT ON COLUMN cache.serve_invalidated IS 'how long after it was invalidated a computed value may be given as a stale one; NULL: not at all';
COMMENT ON COLUMN cache.refresh_ahead IS 'after which part of its time to live, 0 to 1, a value in use is computed anew in the background; 0: it is not';
COMMENT ON COLUMN cache.keep_warm IS 'SELECT of the keys that are loaded in the background when the server has started; NULL: none';
COMMENT ON COLUMN cache.keep_warm_role IS 'role for which, and with whose rights';
SELECT pg_catalog.pg_extension_config_dump('cache', '');

CREATE FUNCTION cache_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cachegrid_cache_changed'
    LANGUAGE C;
COMMENT ON FUNCTION cache_changed() IS 'Trigger of table cachegrid.cache: ends the entries made under the old policy.';
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON cache FOR EACH ROW EXECUTE FUNCTION cache_changed();
ALTER TABLE cache ENABLE ALWAYS TRIGGER changed;

CREATE FUNCTION create_cache(name text, ttl interval DEFAULT NULL, loader text DEFAULT NULL, transactional boolean DEFAULT true,
                             ttl_jitter double precision DEFAULT 0, compress_above integer DEFAULT NULL,
                             max_memory text DEFAULT NULL, pinned boolean DEFAULT false,
                             wait_timeout interval DEFAULT NULL, on_timeout text DEFAULT 'compute',
                             lease_interval interval DEFAULT NULL, null_ttl interval DEFAULT NULL,
                             on_error text DEFAULT 'raise', load_timeout interval DEFAULT NULL, error_backoff interval DEFAULT NULL,
                             stale_ttl interval DEFAULT NULL, soft_load_timeout interval DEFAULT NULL,
                             loader_takes text DEFAULT 'parts', loader_function regprocedure DEFAULT NULL, loader_tags text[] DEFAULT NULL,
                             ttl_column name DEFAULT NULL, run_as regrole DEFAULT NULL,
                             early_beta double precision DEFAULT 0, serve_invalidated interval DEFAULT NULL,
                             refresh_ahead double precision DEFAULT 0, keep_warm text DEFAULT NULL, keep_warm_role name DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    options cachegrid.cache := ROW(name::name, ttl, loader, transactional, ttl_jitter, compress_above, pg_size_bytes(max_memory), pinned,
                                   wait_timeout, on_timeout, lease_interval, null_ttl, on_error, load_timeout,
                                   error_backoff, stale_ttl, soft_load_timeout, loader_takes, loader_tags, ttl_column, run_as, NULL,
                                   early_beta, serve_invalidated, refresh_ahead, keep_warm,
                                   coalesce(keep_warm_role, CASE WHEN keep_warm IS NOT NULL THEN current_user::name END));
BEGIN
    IF loader_function IS NOT NULL THEN
        SELECT f.loader, f.loader_takes INTO options.loader, options.loader_takes
          FROM cachegrid.loader_of_function(loader_function, loader, nullif(loader_takes, 'parts')) AS f;
    END IF;
    PERFORM cachegrid.check_policy(create_cache.name, options);
    IF EXISTS (SELECT FROM cachegrid.cache AS c WHERE c.name = options.name) THEN
        RAISE EXCEPTION 'cache "%" already exists', create_cache.name
            USING ERRCODE = 'duplicate_object', DETAIL = 'Another cache of this database has that name.',
                  HINT = 'Use cachegrid.alter_cache to change it.';
    END IF;
    INSERT INTO cachegrid.cache VALUES (options.*);
END
$$;
COMMENT ON FUNCTION create_cache IS
'Creates a named cache: a policy for the keys whose part before the first colon is name (1 to 63 bytes, no colon). ttl: time to live of entries that are given none; NULL: they do not expire. loader: a SELECT that computes a key''s value, with $1, $2, ... for the parts of the key after its name, separated by colons. transactional: do set and delete take effect at commit (true) or at once. ttl_jitter: by how much of itself, 0 to 1, each time to live that an entry is given, the cache''s or another, is shortened at most, at random, so that what was put at once does not expire at once; ttl() and expires_at() tell what came of it. compress_above: values of more bytes than this, and of 32 at least, are compressed by lz4, if that saves at least an eighth, and decompressed when they are read; NULL: none are. The limit of 16 MB is for the value as it is put; view stat_cache tells ratio and time. max_memory: the memory that the cache''s entries may take, as text with a unit such as 64MB, or in bytes, at least 64kB: when it is full they make room for each other, and other caches lose nothing; NULL: no limit but cachegrid.memory. pinned: entries are not evicted while any entry of another cache that is not pinned can be; what nothing else can make room for, and max_memory, evict them all the same. wait_timeout: how long fetch waits for another session that computes the same value, 0 or more; NULL: as long as cachegrid.lease_timeout says. on_timeout: what it does then: compute, it computes the value, too; error, it raises one; stale, it gives a stale value, and computes if there is none. lease_interval: after a session has begun to compute the value of a key, no other begins within this time, but waits; NULL: none. What cannot be kept, as its key is being changed, everybody computes for himself all the same. null_ttl: how long a computed NULL may live, be it that of a missing row, if it is not to live shorter than that anyway; 0: it is not kept; NULL: as long as other values. on_error: what fetch does if a computation fails: raise, it raises the error; null, it gives NULL, which is not kept, and rolls back what the computation did, as PL/pgSQL does with a block that has EXCEPTION; a cancelled query and a circle of keys are raised all the same, and so is any error beside a parallel plan; stale, it gives a stale value, as null gives NULL, and raises the error if there is none. load_timeout: a computation that takes longer has failed; NULL: none. error_backoff: after a computation of a key has failed, no session tries it again within this time, within twice the time if it fails then, and so on, up to 64 times: fetch does as on_error says, at once; NULL: each tries. stale_ttl: how much longer than its time to live a value computed by fetch is kept, as a stale one: a miss, of which one session computes the value anew, while fetch gives the others the stale one at once (with on_timeout stale, after wait_timeout). It has passed its time to live, and that is all: what a change of a watched table, an invalidation or clear has ended is not given any more. NULL: none is kept. soft_load_timeout: a load_timeout for when there is a stale value, which is then given whatever on_error says; NULL: none. loader_takes: what the loader''s parameters are: parts, $1, $2, ... are the parts of the key; key, $1 is the whole key; keys, $1 is a text[] of all keys that one call has to compute, and the loader returns a row for each that has a value, with a column key, of type text, beside those of the value: none for a key is NULL, several for one, or one for another key, an error. loader_function: instead of loader and loader_takes, a function of one argument: of type text, it is called with the key, of type text[], with the keys; it gives what such a loader would. Rename or replace it by one with other columns, and give it again. What it reads, the server does not see: if it is not IMMUTABLE, it needs a ttl or, if it is STABLE, loader_tags. loader_tags: tags that all values of the loader carry, for invalidate_tags and for the tags of watch; NULL: none. ttl_column: the column of the loader''s result, an interval, that is not part of the value but says how long it may live, if it is not to live shorter than that anyway: no longer than ttl; NULL there: as ttl says; 0 or less: the value is given and not kept. run_as: the role by whose rights the loader runs, with the search path pg_catalog, so that it must name schemas, and whose values are served to all who may call fetch: who declares it must be able to SET ROLE to it; NULL: the rights and the search path of the caller, and a value is served to the role that computed it. early_beta: how eagerly fetch computes a value anew before it expires (XFetch): each hit throws dice, and one that is so close to the end that this many times the time that the value took to compute, times a number drawn from the exponential distribution with mean 1, reaches it computes the value itself, while others go on hitting the old one; if that fails the old one is given, too. 1 suits most, more is earlier; 0: none does. serve_invalidated: how long after a change has ended a value fetch may give it as a stale one, as it does for stale_ttl, while one session computes it anew: a change of rows of a watched table, an invalidation of its key or a tag. So fetch may give what is not in the tables any more, to the session, too, that has changed them and committed, and the promise of exact hits does not hold for it. It is not given to a transaction that has itself changed what the value depends on, nor to one of REPEATABLE READ, nor after clear, delete, a change of the cache, of a definition or of privileges, or of so many keys at once that their prefix was ended. NULL: none is. refresh_ahead: after which part of its time to live, 0 to 1, a value that the cache''s loader has computed is computed anew in the background when fetch uses it, those that are used most first; one that nobody uses expires. With stale_ttl or serve_invalidated the background computes what is stale, too, and no session does. It runs as the role that uses the value, in as many processes as cachegrid.refresh_workers and for as much time as cachegrid.refresh_time allow; not for superusers, nor for roles that may not log in. 1: not before it has expired; 0: never. keep_warm: a SELECT of keys that are loaded in the background when the server has started, also after a crash; NULL: none. keep_warm_role: the role that runs this query and the loader, and has the values: one that may log in, is no superuser, and whose rights the caller has; NULL: the caller. Entries with such keys that are there already end. A NULL name, transactional, ttl_jitter, pinned, early_beta or refresh_ahead is an error. Example: SELECT cachegrid.create_cache(''product'', ttl => ''1 hour'', loader => ''SELECT to_jsonb(p) FROM product p WHERE id = $1''); SELECT cachegrid.create_cache(''offer'', ttl => ''1 hour'', loader_function => ''load_offers(text[])'');';

CREATE FUNCTION loader_of_function(function regprocedure, other text DEFAULT NULL, takes text DEFAULT NULL, OUT loader text, OUT loader_takes text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    f record;
    call text;
BEGIN
    IF other IS NOT NULL OR takes IS NOT NULL THEN
        RAISE EXCEPTION 'option "loader_function" excludes "loader" and "loader_takes"'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'A cache has one loader.',
                  HINT = 'Give a query or a function.';
    END IF;
    SELECT format('%I.%I', n.nspname, p.proname) AS name, p.proretset, p.provariadic <> 0 AS is_variadic, p.prokind, t.typtype,
           p.pronargs, p.proargtypes[0] AS argument, p.prorettype, coalesce('o' = ANY (p.proargmodes) OR 't' = ANY (p.proargmodes), false) AS has_columns
      INTO f
      FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace JOIN pg_type AS t ON t.oid = p.prorettype
     WHERE p.oid = function;
    IF NOT FOUND OR f.prokind <> 'f' OR f.pronargs <> 1 OR f.argument NOT IN ('text'::regtype, 'text[]'::regtype)
       OR (f.typtype = 'p' AND NOT (f.prorettype = 'record'::regtype AND f.has_columns)) THEN
        RAISE EXCEPTION 'function % cannot be a loader', function::text
            USING ERRCODE = 'invalid_function_definition',
                  DETAIL = 'A loader takes one argument, of type text or text[], and returns a value, or columns that it names.',
                  HINT = 'Write one around it, or give a query as the loader.';
    END IF;
    loader_takes := CASE WHEN f.argument = 'text'::regtype THEN 'key' ELSE 'keys' END;
    call := format('%s(%s$1::%s)', f.name, CASE WHEN f.is_variadic THEN 'VARIADIC ' END,
                   CASE loader_takes WHEN 'key' THEN 'text' ELSE 'text[]' END);
    -- A function that returns NULL for a row has computed NULL, not a row of NULLs.
    loader := CASE WHEN f.proretset OR loader_takes = 'keys' THEN format('SELECT * FROM %s', call)
                   WHEN f.typtype IN ('c', 'p')
                   THEN format('SELECT (f.r).* FROM (SELECT %s AS r OFFSET 0) AS f WHERE f.r IS DISTINCT FROM NULL', call)
                   ELSE format('SELECT %s', call) END;
END
$$;
COMMENT ON FUNCTION loader_of_function IS 'The query by which a function is a loader, and what that takes; raises an error for functions that cannot be one.';

CREATE FUNCTION check_choice(option text, value text, choices text[], what text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL THEN
        RAISE EXCEPTION 'option "%" must not be null', option
            USING ERRCODE = 'null_value_not_allowed', DETAIL = what,
                  HINT = format('Leave it out, or choose among: %s.', array_to_string(choices, ', '));
    END IF;
    IF value <> ALL (choices) THEN
        RAISE EXCEPTION 'invalid value for option "%": "%"', option, value
            USING ERRCODE = 'invalid_parameter_value', DETAIL = what,
                  HINT = format('Choose among: %s.', array_to_string(choices, ', '));
    END IF;
END
$$;
COMMENT ON FUNCTION check_choice IS 'Raises an error if the value of an option is none of its choices.';

CREATE FUNCTION check_time(option text, value interval, may_be_zero boolean, what text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value < interval '0' OR (value = interval '0' AND NOT may_be_zero) THEN
        RAISE EXCEPTION '%', format(CASE WHEN may_be_zero THEN 'option "%s" must not be negative'
                                         ELSE 'option "%s" must be greater than zero' END, option)
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', value), HINT = what;
    END IF;
END
$$;
COMMENT ON FUNCTION check_time IS 'Raises an error if the value of an option is no time that it may be.';

CREATE FUNCTION check_number(option text, value double precision, lowest double precision, highest double precision, what text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL THEN
        RAISE EXCEPTION 'option "%" must not be null', option
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'It is a number.', HINT = what;
    END IF;
    IF value NOT BETWEEN lowest AND highest THEN
        RAISE EXCEPTION 'option "%" must be from % to %', option, lowest, highest
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', value), HINT = what;
    END IF;
END
$$;
COMMENT ON FUNCTION check_number IS 'Raises an error if the value of an option is no number that it may be.';

CREATE FUNCTION check_policy(name text, options cachegrid.cache) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ttl interval := options.ttl;
    ttl_jitter double precision := options.ttl_jitter;
    compress_above integer := options.compress_above;
    max_memory bigint := options.max_memory;
BEGIN
    IF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 63 OR position(':' IN name) > 0 THEN
        RAISE EXCEPTION 'invalid cache name %', coalesce(quote_ident(name), 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The name of a cache has 1 to 63 bytes and no colon.',
                  HINT = 'Name it like the prefix of its keys: "product" for "product:42".';
    END IF;
    IF ttl <= interval '0' THEN
        RAISE EXCEPTION 'time to live must be greater than zero'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = format('It is %s.', ttl),
                  HINT = 'Use NULL for entries that do not expire by themselves.';
    END IF;
    IF extract(epoch FROM ttl) > 1e12 THEN
        RAISE EXCEPTION 'time to live is too long'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = format('It is %s.', ttl),
                  HINT = 'Use NULL for entries that do not expire by themselves.';
    END IF;
    IF options.transactional IS NULL THEN
        RAISE EXCEPTION 'option "transactional" must not be null'
            USING ERRCODE = 'null_value_not_allowed',
                  DETAIL = 'It says when set and delete take effect.',
                  HINT = 'Leave it out, or say true or false.';
    END IF;
    IF options.pinned IS NULL THEN
        RAISE EXCEPTION 'option "pinned" must not be null'
            USING ERRCODE = 'null_value_not_allowed',
                  DETAIL = 'It says whether entries stay while others can be evicted.',
                  HINT = 'Leave it out, or say true or false.';
    END IF;
    IF ttl_jitter IS NULL THEN
        RAISE EXCEPTION 'option "ttl_jitter" must not be null'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'It says how much of a time to live may be cut.',
                  HINT = 'Use 0 for times to live that are kept as they are.';
    END IF;
    IF ttl_jitter NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'option "ttl_jitter" must be from 0 to 1'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', ttl_jitter),
                  HINT = 'It is a part of the time to live: 0.1 shortens it by up to a tenth.';
    END IF;
    IF compress_above NOT BETWEEN 0 AND 16777216 THEN
        RAISE EXCEPTION 'option "compress_above" must be from 0 to 16777216'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', compress_above),
                  HINT = 'It is the size in bytes above which values are compressed; use NULL for none.';
    END IF;
    IF max_memory < 65536 THEN
        RAISE EXCEPTION 'option "max_memory" must be at least 64kB'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s bytes.', max_memory),
                  HINT = 'Use NULL for a cache without a limit of its own.';
    END IF;
    IF max_memory > pg_size_bytes(current_setting('cachegrid.memory', true)) THEN
        RAISE EXCEPTION 'option "max_memory" exceeds cachegrid.memory'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = format('It is %s, and all caches together have %s.', pg_size_pretty(max_memory),
                                  current_setting('cachegrid.memory')),
                  HINT = 'Choose less, or raise cachegrid.memory and restart the server.';
    END IF;
    PERFORM cachegrid.check_time('wait_timeout', options.wait_timeout, true, 'Use 0 for not to wait, NULL for as long as cachegrid.lease_timeout says.'),
            cachegrid.check_choice('on_timeout', options.on_timeout, '{compute,error,stale}', 'It says what a session does that has waited long enough.'),
            cachegrid.check_time('lease_interval', options.lease_interval, false, 'Use NULL for none.'),
            cachegrid.check_time('null_ttl', options.null_ttl, true, 'Use 0 for NULLs that are not kept, NULL for those that live as long as other values.'),
            cachegrid.check_choice('on_error', options.on_error, ARRAY['raise', 'null', 'stale'], 'It says what fetch does if a computation fails.'),
            cachegrid.check_time('load_timeout', options.load_timeout, false, 'Use NULL for none.'),
            cachegrid.check_time('error_backoff', options.error_backoff, false, 'Use NULL for none.'),
            cachegrid.check_time('stale_ttl', options.stale_ttl, false, 'Use NULL for values that are not kept beyond their time to live.'),
            cachegrid.check_time('soft_load_timeout', options.soft_load_timeout, false, 'Use NULL for none.'),
            cachegrid.check_choice('loader_takes', options.loader_takes, '{parts,key,keys}', 'It says what the parameters of the loader are.'),
            cachegrid.check_number('early_beta', options.early_beta, 0, 1e12, 'Use 0 for values that are not computed before they have expired, 1 for most others.'),
            cachegrid.check_time('serve_invalidated', options.serve_invalidated, false, 'Use NULL for values that are not given any more.'),
            cachegrid.check_number('refresh_ahead', options.refresh_ahead, 0, 1, 'Use 0.8 to have four fifths of the time to live pass before; 0 for never.');
    IF array_ndims(options.loader_tags) > 1 OR EXISTS (SELECT FROM unnest(options.loader_tags) AS tag
                                                        WHERE tag IS NULL OR octet_length(tag) NOT BETWEEN 1 AND 512) THEN
        RAISE EXCEPTION 'option "loader_tags" must be a list of tags'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'A tag has 1 to 512 bytes, and is not NULL.',
                  HINT = 'Use NULL for none.';
    END IF;
    IF options.keep_warm_role IS NOT NULL AND options.keep_warm IS NULL AND options.name IS NOT NULL THEN
        RAISE EXCEPTION 'option "keep_warm_role" needs "keep_warm"'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'There are no keys to be loaded for the role.',
                  HINT = 'Give a SELECT of keys, too.';
    END IF;
END
$$;
COMMENT ON FUNCTION check_policy IS 'Raises an error for options that create_cache and alter_cache refuse.';

CREATE FUNCTION alter_cache(name text, ttl interval DEFAULT NULL, loader text DEFAULT NULL, transactional boolean DEFAULT NULL,
                            ttl_jitter double precision DEFAULT NULL, compress_above integer DEFAULT NULL,
                            max_memory text DEFAULT NULL, pinned boolean DEFAULT NULL,
                            wait_timeout interval DEFAULT NULL, on_timeout text DEFAULT NULL,
                            lease_interval interval DEFAULT NULL, null_ttl interval DEFAULT NULL,
                            on_error text DEFAULT NULL, load_timeout interval DEFAULT NULL, error_backoff interval DEFAULT NULL,
                            stale_ttl interval DEFAULT NULL, soft_load_timeout interval DEFAULT NULL,
                            loader_takes text DEFAULT NULL, loader_function regprocedure DEFAULT NULL, loader_tags text[] DEFAULT NULL,
                            ttl_column name DEFAULT NULL, run_as regrole DEFAULT NULL,
                            early_beta double precision DEFAULT NULL, serve_invalidated interval DEFAULT NULL,
                            refresh_ahead double precision DEFAULT NULL, keep_warm text DEFAULT NULL, keep_warm_role name DEFAULT NULL,
                            reset text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known CONSTANT text[] := '{ttl,loader,transactional,ttl_jitter,compress_above,max_memory,pinned,wait_timeout,on_timeout,lease_interval,null_ttl,'
                              'on_error,load_timeout,error_backoff,stale_ttl,soft_load_timeout,loader_takes,loader_tags,ttl_column,run_as,early_beta,serve_invalidated,'
                              'refresh_ahead,keep_warm,keep_warm_role}';
    options cachegrid.cache := ROW(NULL, ttl, loader, coalesce(transactional, true), coalesce(ttl_jitter, 0), compress_above,
                                   pg_size_bytes(max_memory), coalesce(pinned, false), wait_timeout, coalesce(on_timeout, 'compute'),
                                   lease_interval, null_ttl, coalesce(on_error, 'raise'), load_timeout, error_backoff,
                                   stale_ttl, soft_load_timeout, coalesce(loader_takes, 'parts'), loader_tags, ttl_column, run_as, NULL,
                                   coalesce(early_beta, 0), serve_invalidated,
                                   coalesce(refresh_ahead, 0), keep_warm, keep_warm_role);
    unknown text;
    new_loader boolean; -- and what it takes: another one, or none
BEGIN
    IF loader_function IS NOT NULL THEN
        SELECT f.loader, f.loader_takes INTO options.loader, options.loader_takes
          FROM cachegrid.loader_of_function(loader_function, loader, loader_takes) AS f;
    END IF;
    new_loader := options.loader IS NOT NULL OR 'loader' = ANY (reset);
    PERFORM cachegrid.check_policy(alter_cache.name, options);
    SELECT o INTO unknown FROM unnest(reset) AS o
     WHERE o IS NULL OR o <> ALL (known)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unknown cache option "%"', coalesce(unknown, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', DETAIL = 'Argument "reset" names it.',
                  HINT = format('Options are %s.', array_to_string(known, ', '));
    END IF;
    UPDATE cachegrid.cache AS c
       SET ttl = CASE WHEN 'ttl' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.ttl, c.ttl) END,
           loader = CASE WHEN 'loader' = ANY (reset) THEN NULL ELSE coalesce(options.loader, c.loader) END,
           transactional = CASE WHEN 'transactional' = ANY (reset) THEN true
                                ELSE coalesce(alter_cache.transactional, c.transactional) END,
           ttl_jitter = CASE WHEN 'ttl_jitter' = ANY (reset) THEN 0 ELSE coalesce(alter_cache.ttl_jitter, c.ttl_jitter) END,
           compress_above = CASE WHEN 'compress_above' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.compress_above, c.compress_above) END,
           max_memory = CASE WHEN 'max_memory' = ANY (reset) THEN NULL
                             ELSE coalesce(pg_size_bytes(alter_cache.max_memory), c.max_memory) END,
           pinned = CASE WHEN 'pinned' = ANY (reset) THEN false ELSE coalesce(alter_cache.pinned, c.pinned) END,
           wait_timeout = CASE WHEN 'wait_timeout' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.wait_timeout, c.wait_timeout) END,
           on_timeout = CASE WHEN 'on_timeout' = ANY (reset) THEN 'compute' ELSE coalesce(alter_cache.on_timeout, c.on_timeout) END,
           lease_interval = CASE WHEN 'lease_interval' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.lease_interval, c.lease_interval) END,
           null_ttl = CASE WHEN 'null_ttl' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.null_ttl, c.null_ttl) END,
           on_error = CASE WHEN 'on_error' = ANY (reset) THEN 'raise' ELSE coalesce(alter_cache.on_error, c.on_error) END,
           load_timeout = CASE WHEN 'load_timeout' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.load_timeout, c.load_timeout) END,
           error_backoff = CASE WHEN 'error_backoff' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.error_backoff, c.error_backoff) END,
           stale_ttl = CASE WHEN 'stale_ttl' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.stale_ttl, c.stale_ttl) END,
           soft_load_timeout = CASE WHEN 'soft_load_timeout' = ANY (reset) THEN NULL
                                    ELSE coalesce(alter_cache.soft_load_timeout, c.soft_load_timeout) END,
           loader_takes = CASE WHEN 'loader_takes' = ANY (reset) THEN 'parts'
                               WHEN new_loader OR alter_cache.loader_takes IS NOT NULL THEN options.loader_takes
                               ELSE c.loader_takes END,
           loader_tags = CASE WHEN 'loader_tags' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.loader_tags, c.loader_tags) END,
           ttl_column = CASE WHEN 'ttl_column' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.ttl_column, c.ttl_column) END,
           run_as = CASE WHEN 'run_as' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.run_as, c.run_as) END,
           source = CASE WHEN new_loader THEN NULL ELSE c.source END,
           early_beta = CASE WHEN 'early_beta' = ANY (reset) THEN 0 ELSE coalesce(alter_cache.early_beta, c.early_beta) END,
           serve_invalidated = CASE WHEN 'serve_invalidated' = ANY (reset) THEN NULL
                                    ELSE coalesce(alter_cache.serve_invalidated, c.serve_invalidated) END,
           refresh_ahead = CASE WHEN 'refresh_ahead' = ANY (reset) THEN 0 ELSE coalesce(alter_cache.refresh_ahead, c.refresh_ahead) END,
           keep_warm = CASE WHEN 'keep_warm' = ANY (reset) THEN NULL ELSE coalesce(alter_cache.keep_warm, c.keep_warm) END,
           keep_warm_role = CASE WHEN 'keep_warm' = ANY (reset) THEN NULL
                                 WHEN 'keep_warm_role' = ANY (reset) THEN current_user::name
                                 ELSE coalesce(alter_cache.keep_warm_role, c.keep_warm_role,
                                               CASE WHEN alter_cache.keep_warm IS NOT NULL THEN current_user::name END) END
     WHERE c.name = alter_cache.name::name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'cache "%" does not exist', alter_cache.name
            USING ERRCODE = 'undefined_object', DETAIL = 'No cache of this database has that name.',
                  HINT = 'Use cachegrid.create_cache to create it.';
    END IF;
END
$$;
COMMENT ON FUNCTION alter_cache IS
'Changes the options of the cache name: ttl, loader, transactional, ttl_jitter, compress_above, max_memory, pinned, wait_timeout, on_timeout, lease_interval, null_ttl, on_error, load_timeout, error_backoff, stale_ttl, soft_load_timeout, loader_takes, loader_function, loader_tags, ttl_column, run_as, early_beta, serve_invalidated, refresh_ahead, keep_warm and keep_warm_role, as for create_cache; another loader takes parts of the key unless loader_takes says otherwise, and ends that fetch_row reads from the cache. Those that are NULL or left out stay, those named in reset go back to their defaults; loader_function is reset as loader. The cache''s entries end. A NULL name is an error. Example: SELECT cachegrid.alter_cache(''product'', ttl => ''5 minutes'', reset => ''{loader}'');';

CREATE FUNCTION drop_cache(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM cachegrid.cache AS c WHERE c.name::text = drop_cache.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'cache "%" does not exist', coalesce(drop_cache.name, 'NULL')
            USING ERRCODE = 'undefined_object', DETAIL = 'No cache of this database has that name.',
                  HINT = 'Caches are listed in view cachegrid.stat_cache.';
    END IF;
END
$$;
COMMENT ON FUNCTION drop_cache(text) IS
'Drops the cache name; its entries end, and its keys belong to cache default. A NULL name is an error. Example: SELECT cachegrid.drop_cache(''product'');';

CREATE FUNCTION cache_table("table" regclass, cache name DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cache_name text := coalesce(cache, (SELECT c.relname FROM pg_class AS c WHERE c.oid = "table"));
    columns text[]; -- of the primary key, in its order
    loader text;
    template text;
    keys text[]; -- templates that are there already
    tags text[];
BEGIN
    IF "table" IS NULL THEN
        RAISE EXCEPTION 'table must not be null'
            USING ERRCODE = 'null_value_not_allowed', DETAIL = 'A null does not stand for a default here.',
                  HINT = 'Name the table.';
    END IF;
    SELECT array_agg(a.attname::text ORDER BY k.place)
      INTO columns
      FROM pg_index AS i
     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
      JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
     WHERE i.indrelid = "table" AND i.indisprimary AND k.place <= i.indnkeyatts;
    IF columns IS NULL THEN
        RAISE EXCEPTION 'relation "%" has no primary key', "table"::text
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A key of the cache is made of the primary key of a row.',
                  HINT = 'Use cachegrid.create_cache with a loader, and cachegrid.watch.';
    END IF;

    SELECT format('SELECT to_jsonb(t.*) FROM %s AS t WHERE ', "table")
           || string_agg(format('t.%I OPERATOR(pg_catalog.=) $%s', c, place), ' AND ' ORDER BY place),
           replace(replace(cache_name, '{', '{{'), '}', '}}') || ':'
           || string_agg('{' || c || '}', ':' ORDER BY place)
      INTO loader, template
      FROM unnest(columns) WITH ORDINALITY AS u (c, place);
    PERFORM cachegrid.create_cache(cache_name, cache_table.ttl, loader);
    UPDATE cachegrid.cache AS c SET source = "table" WHERE c.name = cache_name::name;

    -- The lock keeps others from watching the table anew between reading and writing its templates.
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', "table");
    SELECT w.keys, w.tags INTO keys, tags FROM cachegrid.watched AS w WHERE w."table" = cache_table."table";
    PERFORM cachegrid.watch("table", array_append(array_remove(keys, template), template), tags);
END
$$;
COMMENT ON FUNCTION cache_table(regclass, name, interval) IS
'Caches the rows of a table by its primary key, in one call: creates the cache, named like the table unless cache names it, with a loader that gives a row as an object, and puts the table under watch. ttl: as for create_cache. A NULL table is an error. From then on fetch(''product:42'') gives the row of product with the primary key 42; the parts of a key of several columns are separated by colons. Example: SELECT cachegrid.cache_table(''product'');';

-- tables: watch -------------------------------------------------------------

CREATE FUNCTION capture() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cachegrid_capture'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION capture() IS
'Row trigger of watched and mirrored tables: reports each changed row. Its arguments are written by cachegrid.watch and cachegrid.mirror; do not create it by hand.';

CREATE FUNCTION capture_statement() RETURNS trigger
    AS 'MODULE_PATHNAME', 'cachegrid_capture_statement'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION capture_statement() IS
'Statement trigger of watched and mirrored tables: reports that rows are about to change, and TRUNCATE. Do not create it by hand.';

CREATE FUNCTION capture_command() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cachegrid_capture_command'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION capture_command() IS
'Event trigger: DDL invalidates what was computed from its objects.';

CREATE FUNCTION capture_drop() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cachegrid_capture_drop'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION capture_drop() IS
'Event trigger: DROP invalidates what was computed from its objects.';

CREATE FUNCTION capture_rewrite() RETURNS event_trigger
    AS 'MODULE_PATHNAME', 'cachegrid_capture_rewrite'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION capture_rewrite() IS
'Event trigger: a rewritten table is invalidated as a whole, and its mirrors are swept.';

CREATE EVENT TRIGGER cachegrid_command ON ddl_command_end
    EXECUTE FUNCTION capture_command();
CREATE EVENT TRIGGER cachegrid_drop ON sql_drop
    EXECUTE FUNCTION capture_drop();
CREATE EVENT TRIGGER cachegrid_rewrite ON table_rewrite
    EXECUTE FUNCTION capture_rewrite();

-- Restores and replication apply run as "replica".
ALTER EVENT TRIGGER cachegrid_command ENABLE ALWAYS;
ALTER EVENT TRIGGER cachegrid_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER cachegrid_rewrite ENABLE ALWAYS;

CREATE FUNCTION watch("table" regclass, keys text[] DEFAULT NULL, tags text[] DEFAULT NULL, publish boolean DEFAULT false,
                      server name DEFAULT NULL, channel text DEFAULT NULL, sharded boolean DEFAULT false,
                      notify boolean DEFAULT false)
    RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_watch'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION watch(regclass, text[], text[], boolean, name, text, boolean, boolean) IS
$$Puts a table under watch: from this transaction's commit on, every change of its rows invalidates what was computed from them.
"table": a table that the caller owns. keys, tags: templates, with columns in braces, of the keys and tags that a changed row invalidates, the old and the new row's; NULL or empty: none. Without keys and tags the table is watched as a whole. Watching again replaces all of it. publish: tell subscribers in Redis what happens to the keys, or without key templates that something has: one message each, JSON with table, operation (insert, update, delete, or all: any of the table's keys may have changed), key (NULL for all), and a token by which they see whether they missed one: timeline, batch, since, part, parts. server: a server of the wrapper cachegrid_redis, through which; NULL: the one that the caller has mirrored the table to. channel: of Redis, 1 to 512 bytes; NULL: cachegrid:<database>:<schema>.<table>. sharded: by SPUBLISH (Redis 7), in a cluster to the node of the channel's slot. notify: tell those who LISTEN on channel cachegrid of this database as well, the same JSON without a token, at the price that commits which change the table take turns, in the whole server; such a transaction cannot be prepared. Locks the table against writers until the end of the transaction. A NULL table is an error.
Example: SELECT cachegrid.watch('product', keys => ARRAY['product:{id}'], tags => ARRAY['category:{category_id}']); SELECT cachegrid.watch('product', ARRAY['product:{id}'], publish => true, server => 'grid');$$;

CREATE FUNCTION unwatch("table" regclass)
    RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_unwatch'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unwatch(regclass) IS
$$Ends the watch of a table, and with it what was computed from it, and its events. Mirrors stay.
"table": a watched table that the caller owns. Locks it against everybody until the end of the transaction. A NULL is an error.
Example: SELECT cachegrid.unwatch('product');$$;

CREATE FUNCTION watched(OUT "table" regclass, OUT keys text[], OUT tags text[],
                                  OUT active boolean)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_watched'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION watched() IS
'What the view cachegrid.watched shows.';

CREATE VIEW watched AS
    SELECT "table", keys, tags, active FROM watched();
COMMENT ON VIEW watched IS
$$The watched tables of this database. keys, tags: their templates, empty arrays if there are none. active: false if a trigger is disabled, so that changes are not reported for certain; then nothing computed from the table is cached for good.
Example: SELECT "table", keys, tags FROM cachegrid.watched;$$;

-- tables: mirror ------------------------------------------------------------

CREATE FUNCTION redis_options(options text[], catalog oid) RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_redis_options'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION redis_options(text[], oid) IS
'Checks the options of servers and user mappings of the foreign-data wrapper cachegrid_redis. PostgreSQL calls it.';

CREATE FOREIGN DATA WRAPPER cachegrid_redis VALIDATOR redis_options;
COMMENT ON FOREIGN DATA WRAPPER cachegrid_redis IS
$$Redis servers that tables are mirrored to.
Options of a server: endpoints, "host:port,host:port,..."; mode, cluster (the default) or single; read_from, master (the default) or replica: whom verify asks for keys, whoever writes asks masters; tls, on or off (the default): connections are encrypted and the nodes' certificates verified; tls_ca, a file of authorities, the system's if it is left out; tls_server_name, what the certificates are for, each node's host if it is left out. Options of a user mapping: username, password; tls_certificate and tls_key, files to show who we are by; tls_key_password. Files are PEM, on the PostgreSQL server; to name them takes the privileges of pg_read_server_files.
Example: CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (mode 'cluster', endpoints '127.0.0.1:7000,127.0.0.1:7001');$$;

CREATE TABLE mirrors (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation regclass NOT NULL,
    server name NOT NULL,
    owner regrole NOT NULL,
    key text NOT NULL,
    prefix text NOT NULL,
    mode text NOT NULL,
    format text NOT NULL,
    columns name[],
    ttl interval,
    dropped boolean NOT NULL DEFAULT false,
    strict boolean NOT NULL,
    on_unavailable text NOT NULL,
    ttl_jitter double precision NOT NULL,
    transform text,
    UNIQUE (server, prefix)
);
CREATE UNIQUE INDEX ON mirrors (relation, server) WHERE NOT dropped;
COMMENT ON TABLE mirrors IS
'The mirrors of this database: written by cachegrid.mirror() and cachegrid.unmirror(), read by the worker. owner: whose user mapping is used. key: the template, with columns by number and name. dropped: unmirrored, its keys are still to be removed from Redis. See the view cachegrid.stat_mirror.';
SELECT pg_catalog.pg_extension_config_dump('mirrors', '');
SELECT pg_catalog.pg_extension_config_dump('mirrors_id_seq', '');

CREATE TABLE event_streams (
    id integer PRIMARY KEY DEFAULT pg_catalog.nextval('cachegrid.mirrors_id_seq'),
    relation regclass NOT NULL,
    server name NOT NULL,
    owner regrole NOT NULL,
    channel text NOT NULL,
    sharded boolean NOT NULL,
    dropped boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE event_streams IS
'Where events of watched tables are published: written by cachegrid.watch() and cachegrid.unwatch(), read by the worker. id: numbered together with the mirrors. owner: whose user mapping is used. dropped: ended, the worker will delete it. See the view cachegrid.stat_events.';
SELECT pg_catalog.pg_extension_config_dump('event_streams', '');

-- Whole records of touched keys, at most 8 kB a row, written just before
-- commit; see src/outbox.  Never updated: there is nothing to vacuum, and a
-- table is truncated once it has been read.
DO $$
BEGIN
    FOR number IN 0..2 LOOP
        EXECUTE pg_catalog.format($table$
            CREATE TABLE cachegrid.outbox_%1$s (
                xid xid8 NOT NULL,
                written timestamptz NOT NULL,
                flags smallint NOT NULL,
                payload bytea NOT NULL
            ) WITH (autovacuum_enabled = off);
            ALTER TABLE cachegrid.outbox_%1$s ALTER payload SET STORAGE PLAIN;
            CREATE INDEX ON cachegrid.outbox_%1$s (xid);
            COMMENT ON TABLE cachegrid.outbox_%1$s IS
            'Keys that committed transactions touched and that are to be written to Redis. One of three tables used in turn.';
        $table$, number);
    END LOOP;
END
$$;

CREATE TABLE mirror_position (
    server text NOT NULL,
    owner oid NOT NULL,
    position text NOT NULL,
    history text NOT NULL,
    nodes text,
    PRIMARY KEY (server, owner)
) WITH (fillfactor = 10);
COMMENT ON TABLE mirror_position IS
'How far the worker has read the outbox for each server and owner of mirrors. position: a snapshot. history: system identifier and timeline it belongs to. nodes: the Redis processes that were there, and how often each was flushed.';

CREATE TABLE mirror_progress (
    mirror integer PRIMARY KEY,
    phase integer NOT NULL,
    last bytea,
    differences boolean NOT NULL,
    batch bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
COMMENT ON TABLE mirror_progress IS
'How far each mirror''s sweep is: phase 0 done, 1 in the table (behind the key last), 2 in Redis. differences: it writes only rows that differ from what Redis has. A mirror without a row has not been swept yet. Of a stream of events, numbered as mirrors are: batch, the last one that was published whole; reserved: no batch has a higher number.';

CREATE TABLE mirror_parked (
    mirror integer NOT NULL,
    record bytea NOT NULL,
    key text NOT NULL,
    error text NOT NULL,
    tries integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (mirror, record)
);
COMMENT ON TABLE mirror_parked IS
'Keys that could not be written, because their row could not be encoded or Redis refused them, and that were removed from Redis instead; whoever may read cachegrid.stat_mirror may read these. They are tried again when their row changes, and by cachegrid.resync(). key: its prefix tells the mirror. record: the key as the worker keeps it. tries: how often it failed, since: when it did at first. Example: SELECT key, error, tries FROM cachegrid.mirror_parked;';

CREATE FUNCTION mirror("table" regclass, server name, key text DEFAULT NULL, mode text DEFAULT 'write-behind',
                       format text DEFAULT 'json', columns name[] DEFAULT NULL, ttl interval DEFAULT NULL,
                       strict boolean DEFAULT true, on_unavailable text DEFAULT 'error',
                       ttl_jitter double precision DEFAULT 0, transform text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_mirror'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION mirror(regclass, name, text, text, text, name[], interval, boolean, text, double precision, text) IS
$$Mirrors a table's rows to a Redis server: those that are there, and from this transaction's commit on every change.
"table": an ordinary or partitioned table that the caller owns; a partitioned one with all its partitions, those too that come later. server: a server of the foreign-data wrapper cachegrid_redis that the caller may use; it is tried at once. key: template of the keys, with all columns of a unique index in braces; NULL: the table's name and its primary key. mode: write-behind; write-through, where a commit waits until its rows are in Redis; or invalidate, which removes keys and writes none. format: json, as row_to_json() gives it in UTC; hash, a field for each column that is not NULL. columns: those to be written; NULL: all. ttl: when keys expire after they were written; NULL: never. ttl_jitter: each ttl is shortened by up to this part of it, at random, 0 to 1. transform: name of a function that takes a row of the table, and whose result, as text, is what is written instead; for a row of which it makes NULL there is no key; NULL: none. strict, of write-through: the keys of changed rows are removed before the commit, so that Redis never has what is older than the table; false: it has for a moment. on_unavailable, of write-through when Redis is away: error, a commit fails if it is strict and warns if it is not; degrade, it goes on as with write-behind. A NULL of any other argument is an error.
Example: SELECT cachegrid.mirror('product', 'grid', key => 'product:{id}');$$;

CREATE FUNCTION unmirror("table" regclass, server name) RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_unmirror'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unmirror(regclass, name) IS
$$Ends a mirror; its keys are then removed from Redis.
"table": a mirrored table that the caller owns. server: where it is mirrored to. A NULL is an error.
Example: SELECT cachegrid.unmirror('product', 'grid');$$;

CREATE FUNCTION resync("table" regclass, server name, differences boolean DEFAULT false) RETURNS void
    AS 'MODULE_PATHNAME', 'cachegrid_resync'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION resync(regclass, name, boolean) IS
$$Has the worker write all rows of a mirrored table to Redis again, and remove keys that have no row. cachegrid.stat_mirror_progress shows how far it is.
"table": a mirrored table that the caller owns. server: where it is mirrored to. differences: true writes only rows whose keys differ or are missing, which the worker finds out by reading them; the others keep the time to live that they have left. A sweep of the whole table that is under way stays one. A NULL is an error.
Example: SELECT cachegrid.resync('product', 'grid', differences => true);$$;

CREATE FUNCTION verify("table" regclass, server name, OUT key text, OUT problem text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_verify'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION verify(regclass, name) IS
$$Compares a mirrored table with Redis, both ways, and returns what differs for two seconds or longer; no row: they are equal.
If the server has read_from 'replica', keys are read from replicas, once those have what their masters had; a master without one that can be read is an error.
"table": a mirrored table that the caller owns. server: where it is mirrored to. A NULL is an error. problem: missing (expired, if the mirror has a ttl), differs, surplus, or cannot be encoded: and why the row cannot be made JSON.
Example: SELECT * FROM cachegrid.verify('product', 'grid');$$;

-- seeing --------------------------------------------------------------------

CREATE FUNCTION stat_cache(OUT cache text, OUT entries bigint, OUT bytes bigint, OUT hits bigint, OUT misses bigint,
                           OUT hit_ratio double precision, OUT loads bigint, OUT load_ms double precision, OUT evictions bigint,
                           OUT expirations bigint, OUT invalidations bigint, OUT sets bigint, OUT bypasses bigint,
                           OUT refused bigint, OUT compress_ratio double precision,
                           OUT compress_ms double precision, OUT memory bigint, OUT miss_absent bigint,
                           OUT miss_evicted bigint, OUT miss_expired bigint, OUT miss_superseded bigint,
                           OUT miss_unsettled bigint, OUT miss_privileges bigint, OUT miss_other_query bigint,
                           OUT miss_own_write bigint, OUT miss_isolation bigint, OUT miss_recovery bigint,
                           OUT load_errors bigint, OUT last_error text, OUT last_error_at timestamptz,
                           OUT stale bigint, OUT early bigint, OUT refreshes bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_stat_cache'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION stat_cache() IS 'Rows of view cachegrid.stat_cache.';
CREATE VIEW stat_cache AS SELECT * FROM stat_cache();
COMMENT ON VIEW stat_cache IS
'One row a cache of this database, counted since the server started. bytes: keys, values as they are kept, and what they depend on. hit_ratio: hits among all reads, NULL without reads. loads: how often values were computed, one or by fetch_many many at once. load_ms: time spent in loaders, in milliseconds. bypasses: reads that could not use the cache (own uncommitted changes, SERIALIZABLE, recovery). refused: values computed but not kept, because a writer was at work. compress_ratio: of the values put that compress_above is for, the bytes kept for each byte of them, those included that it did not pay to compress; NULL without any. compress_ms: time spent compressing and decompressing, in milliseconds. memory: what the entries of a cache with max_memory take of it, in bytes, headers and rounding included, and those that are dead but not swept yet; NULL without. miss_...: why reads were no hits; the last three add up to bypasses, the others to misses. miss_absent: never there, or gone so long ago that nobody knows why. miss_evicted: thrown out for want of memory. miss_expired: its time to live had passed. miss_superseded: deleted, or invalidated: by a change of what it depends on, a clear, a change of its cache. miss_unsettled: a transaction that invalidates it was under way, or had ended after this reader''s snapshot was taken. miss_privileges: computed by another role. miss_other_query: computed by another query or arguments. miss_own_write: the reader''s own transaction changes what it depends on. miss_isolation: SERIALIZABLE, or without a snapshot. miss_recovery: on a standby that knows too little of its primary, or under a snapshot older than the server''s start; view stat_standby says more. load_errors: loaders that failed or took too long, cancelled ones not included. last_error, last_error_at: the last of these errors, its text for members of the role that ran the loader and of pg_read_all_stats; NULL if there was none. stale: stale values that fetch has given, each of them a miss. early: loads begun by a hit, before the value had expired, as early_beta has it. refreshes: loads begun in the background, as refresh_ahead has it. Example: SELECT cache, entries, hit_ratio FROM cachegrid.stat_cache;';

CREATE FUNCTION preload_progress(OUT pid integer, OUT cache text, OUT keys_total bigint, OUT keys_done bigint, OUT keys_loaded bigint,
                                 OUT started_at timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_preload_progress'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION preload_progress() IS 'Rows of view cachegrid.stat_preload.';
CREATE VIEW stat_preload AS SELECT * FROM preload_progress();
COMMENT ON VIEW stat_preload IS
'One row a preload under way in this database. pid: of the process. keys_total: keys that it was given; keys_done: those that it is through with; keys_loaded: those of them that it has computed, and not found there. Example: SELECT cache, 100 * keys_done / nullif(keys_total, 0) AS percent FROM cachegrid.stat_preload;';

CREATE FUNCTION stat_memory(OUT class text, OUT used_bytes bigint, OUT free_bytes bigint, OUT entries bigint, OUT pages bigint,
                            OUT waste_bytes bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_stat_memory'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 50;
COMMENT ON FUNCTION stat_memory() IS 'Rows of view cachegrid.stat_memory.';
CREATE VIEW stat_memory AS SELECT * FROM stat_memory();
COMMENT ON VIEW stat_memory IS
'Where the memory is, of all databases together: one row a size class (class = bytes of a cell) that has pages, then the free pages, then the overhead of index and descriptions. used_bytes and free_bytes of all rows add up to cachegrid.memory. waste_bytes: the part of used_bytes that nobody asked for. Example: SELECT pg_size_pretty(sum(free_bytes)) FROM cachegrid.stat_memory;';

CREATE FUNCTION prepared_stamps(OUT xid xid, OUT stamps bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_prepared_stamps'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION prepared_stamps() IS 'Part of the rows of view cachegrid.stat_prepared.';
CREATE VIEW stat_prepared AS
    SELECT s.xid, p.gid, p.prepared, p.owner, p.database, s.stamps
    FROM pg_catalog.pg_prepared_xacts p JOIN prepared_stamps() s ON s.xid = p.transaction;
COMMENT ON VIEW stat_prepared IS
'One row a prepared transaction, of any database, that keeps values from being served until it is committed or rolled back. stamps: so many keys, tags, prefixes and relations are misses for it, and cannot be filled; NULL: it was prepared before the server started, without leaving word of what it touches, and nothing computed is served at all. Example: SELECT xid, gid, clock_timestamp() - prepared AS age, stamps FROM cachegrid.stat_prepared;';

CREATE FUNCTION stat_standby(OUT in_recovery boolean, OUT logs boolean, OUT serves boolean, OUT reason text) RETURNS record
    AS 'MODULE_PATHNAME', 'cachegrid_stat_standby'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION stat_standby() IS 'The row of view cachegrid.stat_standby.';
CREATE VIEW stat_standby AS SELECT * FROM stat_standby();
COMMENT ON VIEW stat_standby IS
'Whether this server keeps and serves values computed from tables: one row. in_recovery: it is a standby, or being recovered. logs: its transactions write what they invalidate to the WAL, as cachegrid.wal_log_invalidations has them, so that its standbys can serve such values, too; false on a standby. serves: values computed from tables are served to snapshots taken now. reason: why not, NULL if they are. Example: SELECT serves, reason FROM cachegrid.stat_standby;';

CREATE FUNCTION mirror_status(OUT mirror integer, OUT state text, OUT waiting bigint, OUT oldest timestamptz,
                              OUT applied bigint, OUT retries bigint, OUT sweeps bigint, OUT last_error text,
                              OUT last_error_at timestamptz, OUT waits bigint, OUT groups bigint,
                              OUT disappointments bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_mirror_status'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION mirror_status() IS 'Part of the rows of views cachegrid.stat_mirror and cachegrid.stat_events.';
CREATE VIEW stat_mirror AS
    SELECT m.relation AS "table", m.server, m.mode, s.state, s.waiting,
           coalesce(extract(epoch FROM clock_timestamp() - s.oldest)::double precision, 0) AS lag_seconds,
           s.applied, s.retries,
           (SELECT count(*) FROM mirror_parked p WHERE p.mirror = m.id) AS parked,
           s.sweeps, s.last_error, s.last_error_at, s.waits,
           s.waits::double precision / nullif(s.groups, 0) AS group_size, s.disappointments
    FROM mirrors m JOIN mirror_status() s ON s.mirror = m.id;
COMMENT ON VIEW stat_mirror IS
'One row a mirror of this database. state: starting, sweeping, live, interrupted (Redis is away), sweep pending (the same, and a sweep is to come), stopped (see last_error: the table, or a lack of worker processes), removing (after unmirror). waiting: changes that are committed and not applied yet. lag_seconds: age of the oldest of them. applied: keys set or deleted, retries: sent again, since the server started. parked: keys that could not be written, see cachegrid.mirror_parked. sweeps: ended ones. Of mode write-through: waits: commits that waited until their rows were in Redis; group_size: how many of them were released together, on average, NULL if there were none; disappointments: commits that wanted to wait and were told that Redis, or the table, is out of reach. Example: SELECT "table", waiting, lag_seconds, last_error FROM cachegrid.stat_mirror;';

CREATE VIEW stat_events AS
    SELECT e.relation AS "table", e.server, e.channel, e.sharded, s.state, s.waiting,
           coalesce(extract(epoch FROM clock_timestamp() - s.oldest)::double precision, 0) AS lag_seconds,
           s.applied AS published, s.retries, s.last_error, s.last_error_at
    FROM event_streams e JOIN mirror_status() s ON s.mirror = e.id;
COMMENT ON VIEW stat_events IS
'One row a watched table whose events are published. state: as in cachegrid.stat_mirror, where a sweep is one event that says "all"; stopped: Redis refuses them, see last_error. waiting: changes that are committed and not published yet. lag_seconds: age of the oldest of them. published: events, retries: sent again, since the server started. Example: SELECT "table", channel, waiting, lag_seconds, last_error FROM cachegrid.stat_events;';

CREATE FUNCTION mirror_progress(OUT mirror integer, OUT phase text, OUT started_at timestamptz, OUT keys_scanned bigint,
                                OUT rows_done bigint, OUT rows_total bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_mirror_progress'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION mirror_progress() IS 'Part of the rows of view cachegrid.stat_mirror_progress.';
CREATE VIEW stat_mirror_progress AS
    SELECT m.relation AS "table", m.server, p.phase, p.started_at, p.keys_scanned, p.rows_done, p.rows_total
    FROM mirrors m JOIN mirror_progress() p ON p.mirror = m.id;
COMMENT ON VIEW stat_mirror_progress IS
'One row a sweep under way: the first copy of a table, a resync, or what TRUNCATE, ALTER TABLE and a Redis that may have lost keys ask for. phase: scanning Redis, for keys whose rows are gone; then walking the table, row by row; or comparing the table, of a resync of differences. started_at: when the worker took it up; one that begins goes on where the last one was, and counts anew. keys_scanned: keys found in Redis. rows_done: rows written, or compared. rows_total: of the table, as ANALYZE estimates it; NULL: not known. Example: SELECT "table", phase, 100 * rows_done / nullif(rows_total, 0) AS percent FROM cachegrid.stat_mirror_progress;';

CREATE FUNCTION stat_redis(OUT server name, OUT node text, OUT role text, OUT owner regrole, OUT connected boolean, OUT slots integer,
                           OUT commands bigint, OUT errors bigint, OUT retries bigint, OUT redirects bigint, OUT connects bigint,
                           OUT round_trips bigint, OUT round_trip_ms double precision,
                           OUT round_trip_p50_ms double precision, OUT round_trip_p99_ms double precision, OUT bytes_sent bigint,
                           OUT last_error text, OUT last_error_at timestamptz, OUT since timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'cachegrid_stat_redis'
    LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION stat_redis() IS 'Rows of view cachegrid.stat_redis.';
CREATE VIEW stat_redis AS SELECT * FROM stat_redis();
COMMENT ON VIEW stat_redis IS
'One row a Redis node that this database''s worker writes to: the masters of the cluster, or the single server; and one for each replica that verify has read. Brought up to date every second, and when something goes wrong; a replica when verify has ended. node: host:port. role: master, single or replica. owner: whose user mapping is used; a server that several roles use has its nodes once for each. connected: the worker has a connection that can take commands; NULL for a replica: sessions connect to it and leave. slots: hash slots that the node, or a replica''s master, owns. commands: sent to it, the client''s own questions included; errors: error replies, connections lost, and those that could not be made; retries: commands that were redirected or must be sent again; redirects: MOVED and ASK that it answered with; connects: connections made, so one more than reconnects; round_trips: answers waited for, of whole pipelines; round_trip_ms: how long one took, on average, in milliseconds; round_trip_p50_ms, round_trip_p99_ms: how long half of them, and 99 in 100, took at most, to within a quarter; all three NULL without one; bytes_sent: to it; all of these since the time in since. last_error, last_error_at: the last of the errors, NULL if there was none. Example: SELECT node, connected, errors, last_error FROM cachegrid.stat_redis;';

-- privileges ----------------------------------------------------------------

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cachegrid FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA cachegrid FROM PUBLIC;

GRANT EXECUTE ON FUNCTION get(text), get(text, anyelement), mget(text[]), "exists"(text), gets(text), ttl(text),
    expires_at(text), entries(text), stat_cache(), stat_memory(), preload_progress(), prepared_stamps(), stat_standby() TO cachegrid_reader;
GRANT SELECT ON stat_cache, stat_preload, stat_memory, stat_prepared, stat_standby, cache TO cachegrid_reader;

GRANT EXECUTE ON FUNCTION set(text, text, interval, text[]), set(text, anyelement, interval, text[]), delete(text[]),
    add(text, text, interval, text[]), add(text, anyelement, interval, text[]),
    replace(text, text, interval, text[]), replace(text, anyelement, interval, text[]),
    cas(text, text, bigint, interval), cas(text, anyelement, bigint, interval),
    incr(text, bigint, interval), decr(text, bigint, interval), expire(text, interval) TO cachegrid_writer;

GRANT EXECUTE ON FUNCTION clear(text), create_cache, check_policy, check_choice, check_time, check_number, loader_of_function, alter_cache, drop_cache(text),
    cache_table(regclass, name, interval)
    TO cachegrid_admin;
GRANT INSERT, UPDATE, DELETE ON cache TO cachegrid_admin;

-- Who creates a trigger, as watch() does and who adds a partition, needs to
-- execute its function; who fires it does not.
GRANT EXECUTE ON FUNCTION capture(), capture_statement(), watch(regclass, text[], text[], boolean, name, text, boolean, boolean), unwatch(regclass)
    TO cachegrid_writer;
GRANT EXECUTE ON FUNCTION watched() TO cachegrid_reader;
GRANT SELECT ON watched TO cachegrid_reader;

GRANT EXECUTE ON FUNCTION mirror(regclass, name, text, text, text, name[], interval, boolean, text, double precision, text), unmirror(regclass, name),
    resync(regclass, name, boolean), verify(regclass, name) TO cachegrid_writer;
GRANT EXECUTE ON FUNCTION mirror_status(), mirror_progress(), stat_redis() TO cachegrid_reader;
GRANT SELECT ON stat_mirror, stat_events, stat_mirror_progress, stat_redis, mirror_parked TO cachegrid_reader;

-- start ---------------------------------------------------------------------
-- What the extension had put before it was dropped is not this one's.

DO $$
BEGIN
    PERFORM cachegrid.clear();
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    NULL; -- not preloaded: there is no cache yet
END
$$;
