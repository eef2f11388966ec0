-- The SQL contract: every function with its arguments and their names, what
-- it returns, its volatility and who may call it; every view with its columns;
-- the roles; nothing for PUBLIC.  Arguments and columns may be added at the
-- end, arguments with a default only; nothing else may change.

\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_ROLLBACK on
\set ON_ERROR_STOP on

BEGIN;

-- What is promised.  may_call: the least of the three roles, or "owner".

CREATE TEMP TABLE promised_function (
    name text, arguments text, result text, may_call text, volatility text DEFAULT 'volatile');

INSERT INTO promised_function (name, arguments, result, may_call) VALUES
    -- values
    ('set', 'key text, value text, ttl interval = NULL, tags text[] = NULL', 'void', 'writer'),
    ('set', 'key text, value anyelement, ttl interval = NULL, tags text[] = NULL', 'void', 'writer'),
    ('get', 'key text', 'text', 'reader'),
    ('get', 'key text, type anyelement', 'anyelement', 'reader'),
    ('mget', 'keys text[]', 'text[]', 'reader'),
    ('delete', 'VARIADIC keys text[]', 'bigint', 'writer'),
    ('exists', 'key text', 'boolean', 'reader'),
    ('add', 'key text, value text, ttl interval = NULL, tags text[] = NULL', 'boolean', 'writer'),
    ('add', 'key text, value anyelement, ttl interval = NULL, tags text[] = NULL', 'boolean', 'writer'),
    ('replace', 'key text, value text, ttl interval = NULL, tags text[] = NULL', 'boolean', 'writer'),
    ('replace', 'key text, value anyelement, ttl interval = NULL, tags text[] = NULL', 'boolean', 'writer'),
    ('gets', 'key text', '(value text, version bigint)', 'reader'),
    ('cas', 'key text, value text, version bigint, ttl interval = NULL', 'boolean', 'writer'),
    ('cas', 'key text, value anyelement, version bigint, ttl interval = NULL', 'boolean', 'writer'),
    ('incr', 'key text, by bigint = 1, ttl interval = NULL', 'bigint', 'writer'),
    ('decr', 'key text, by bigint = 1, ttl interval = NULL', 'bigint', 'writer'),
    ('ttl', 'key text', 'interval', 'reader'),
    ('expires_at', 'key text', 'timestamp with time zone', 'reader'),
    ('expire', 'key text, ttl interval', 'boolean', 'writer'),
    ('clear', 'cache text = NULL', 'bigint', 'admin'),
    ('entries', 'pattern text = ''*''', 'SETOF (key text, cache text, type regtype, bytes bigint, '
        'created_at timestamp with time zone, expires_at timestamp with time zone, tags text[])', 'reader'),
    -- computing on a miss
    ('fetch', 'key text, query text, args text[] = ''{}'', ttl interval = NULL, tags text[] = NULL',
        'jsonb', 'writer'),
    ('fetch', 'key text', 'jsonb', 'reader'),
    ('fetch_many', 'keys text[]', 'jsonb[]', 'reader'),
    ('fetch_row', '"row" anyelement, VARIADIC key text[]', 'anyelement', 'reader'),
    ('lookup', 'key text, tags text[] = NULL, lease interval = NULL', '(value text, token text, must_load boolean)', 'reader'),
    ('fill', 'key text, value text, token text, ttl interval = NULL, tags text[] = NULL',
        'boolean', 'writer'),
    ('fill', 'key text, value anyelement, token text, ttl interval = NULL, tags text[] = NULL',
        'boolean', 'writer'),
    ('give_up', 'key text, token text', 'boolean', 'reader'),
    ('preload', 'cache text, keys text[]', 'bigint', 'writer'),
    ('preload', 'cache text, query text', 'bigint', 'writer'),
    ('invalidate', 'VARIADIC keys text[]', 'void', 'writer'),
    ('invalidate_tags', 'VARIADIC tags text[]', 'void', 'writer'),
    -- policy
    ('create_cache', 'name text, ttl interval = NULL, loader text = NULL, transactional boolean = true, '
        'ttl_jitter double precision = 0, compress_above integer = NULL, max_memory text = NULL, pinned boolean = false, '
        'wait_timeout interval = NULL, on_timeout text = ''compute'', lease_interval interval = NULL, null_ttl interval = NULL, '
        'on_error text = ''raise'', load_timeout interval = NULL, error_backoff interval = NULL, '
        'stale_ttl interval = NULL, soft_load_timeout interval = NULL, loader_takes text = ''parts'', loader_function regprocedure = NULL, '
        'loader_tags text[] = NULL, ttl_column name = NULL, run_as regrole = NULL, '
        'early_beta double precision = 0, '
        'serve_invalidated interval = NULL, refresh_ahead double precision = 0, keep_warm text = NULL, keep_warm_role name = NULL', 'void', 'admin'),
    ('alter_cache', 'name text, ttl interval = NULL, loader text = NULL, transactional boolean = NULL, '
        'ttl_jitter double precision = NULL, compress_above integer = NULL, max_memory text = NULL, pinned boolean = NULL, '
        'wait_timeout interval = NULL, on_timeout text = NULL, lease_interval interval = NULL, null_ttl interval = NULL, '
        'on_error text = NULL, load_timeout interval = NULL, error_backoff interval = NULL, '
        'stale_ttl interval = NULL, soft_load_timeout interval = NULL, loader_takes text = NULL, loader_function regprocedure = NULL, '
        'loader_tags text[] = NULL, ttl_column name = NULL, run_as regrole = NULL, '
        'early_beta double precision = NULL, '
        'serve_invalidated interval = NULL, refresh_ahead double precision = NULL, keep_warm text = NULL, keep_warm_role name = NULL', 'void', 'admin'),
    ('drop_cache', 'name text', 'void', 'admin'),
    ('cache_table', '"table" regclass, cache name = NULL, ttl interval = NULL', 'void', 'admin'),
    -- tables
    ('watch', '"table" regclass, keys text[] = NULL, tags text[] = NULL, publish boolean = false, server name = NULL, '
        'channel text = NULL, sharded boolean = false, notify boolean = false', 'void', 'writer'),
    ('unwatch', '"table" regclass', 'void', 'writer'),
    ('mirror', '"table" regclass, server name, key text = NULL, mode text = ''write-behind'', '
        'format text = ''json'', columns name[] = NULL, ttl interval = NULL, '
        'strict boolean = true, on_unavailable text = ''error'', '
        'ttl_jitter double precision = 0, transform text = NULL', 'void', 'writer'),
    ('unmirror', '"table" regclass, server name', 'void', 'writer'),
    ('resync', '"table" regclass, server name, differences boolean = false', 'void', 'writer'),
    ('verify', '"table" regclass, server name', 'SETOF (key text, problem text)', 'writer');

CREATE TEMP TABLE promised_view (name text, columns text[]);

INSERT INTO promised_view VALUES
    ('stat_cache', '{cache,entries,bytes,hits,misses,hit_ratio,loads,load_ms,evictions,'
        'expirations,invalidations,compress_ratio,compress_ms,memory,load_errors,last_error,last_error_at,stale,early,refreshes}'),
    ('stat_preload', '{pid,cache,keys_total,keys_done,keys_loaded,started_at}'),
    ('stat_memory', '{class,used_bytes,free_bytes,entries}'),
    ('stat_prepared', '{xid,gid,prepared,owner,database,stamps}'),
    ('stat_standby', '{in_recovery,logs,serves,reason}'),
    ('watched', '{table,keys,tags,active}'),
    ('stat_mirror', '{table,server,mode,waiting,lag_seconds,applied,retries,parked,last_error,waits,group_size,'
        'disappointments}'),
    ('stat_events', '{table,server,channel,sharded,state,waiting,lag_seconds,published,retries,last_error,last_error_at}'),
    ('stat_mirror_progress', '{table,server,phase,started_at,keys_scanned,rows_done,rows_total}'),
    ('stat_redis', '{server,node,role,owner,connected,slots,commands,errors,retries,redirects,connects,round_trips,'
        'round_trip_ms,round_trip_p50_ms,round_trip_p99_ms,bytes_sent,last_error,last_error_at,since}');

-- What there is, spelled as above.

CREATE TEMP VIEW extension_function AS
    SELECT p.*
    FROM pg_proc p
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE e.extname = 'cachegrid';

CREATE TEMP VIEW extension_relation AS
    SELECT c.*
    FROM pg_class c
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE e.extname = 'cachegrid' AND c.relkind IN ('r', 'v', 'S');

-- One row an argument or result column.
CREATE TEMP VIEW argument AS
    SELECT p.oid AS function, a.position, COALESCE(p.proargmodes[a.position], 'i') AS mode,
           quote_ident(COALESCE(p.proargnames[a.position], '')) || ' '
               || format_type(a.type, NULL) AS declaration,
           ' = ' || regexp_replace(pg_get_function_arg_default(p.oid, a.position::int),
                                   '::[a-z0-9 ]+(\[\])?$', '') AS default_value
    FROM extension_function p,
         LATERAL unnest(COALESCE(p.proallargtypes, p.proargtypes::oid[]))
             WITH ORDINALITY AS a (type, position);

CREATE TEMP VIEW actual_function AS
    SELECT p.oid, p.proname::text AS name,
           COALESCE(a.inputs, '') AS arguments,
           CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END
               || COALESCE('(' || a.outputs || ')', format_type(p.prorettype, NULL)) AS result,
           CASE p.provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'stable' ELSE 'immutable' END
               AS volatility
    FROM extension_function p
    LEFT JOIN (
        SELECT function,
               string_agg(CASE mode WHEN 'v' THEN 'VARIADIC ' ELSE '' END
                          || declaration || COALESCE(default_value, ''), ', ' ORDER BY position)
                   FILTER (WHERE mode IN ('i', 'v', 'b')) AS inputs,
               string_agg(declaration, ', ' ORDER BY position)
                   FILTER (WHERE mode IN ('o', 't', 'b')) AS outputs
        FROM argument GROUP BY function) a ON a.function = p.oid;

-- A promise and what keeps it: the same arguments, or these and then more
-- that have defaults, or more columns.
CREATE TEMP VIEW kept_function AS
    SELECT f.*, a.oid, a.volatility AS actual_volatility, a.result AS actual_result
    FROM promised_function f
    LEFT JOIN LATERAL (
        SELECT * FROM actual_function a
        WHERE a.name = f.name
          AND (a.arguments = f.arguments
               OR starts_with(a.arguments, f.arguments || ', ')
                  AND substr(a.arguments, length(f.arguments) + 3) !~ '(^|, )[^=]+(,|$)')
        ORDER BY length(a.arguments) LIMIT 1) a ON true;

CREATE ROLE contract_stranger;

CREATE TEMP VIEW caller AS
    SELECT * FROM (VALUES (1, 'contract_stranger', 'everybody'), (2, 'cachegrid_reader', 'reader'),
                          (3, 'cachegrid_writer', 'writer'), (4, 'cachegrid_admin', 'admin'))
        AS caller (rank, role, title);

SELECT plan((4 * (SELECT count(*) FROM promised_function)
             + (SELECT count(*) FROM promised_view) + 22)::int);

-- Functions.

SELECT ok(oid IS NOT NULL, format('%s(%s) is there', name, arguments))
       || CASE WHEN oid IS NULL
               THEN E'\n' || diag(format('of that name: %s', (
                   SELECT string_agg(a.arguments, ' | ') FROM actual_function a
                   WHERE a.name = f.name)))
               ELSE '' END
FROM kept_function f;

SELECT ok(actual_result = result
          OR starts_with(actual_result, rtrim(result, ')') || ', '),
          format('%s(%s) returns %s', name, arguments, result))
       || CASE WHEN actual_result IS DISTINCT FROM result
               THEN E'\n' || diag(format('it returns: %s', actual_result)) ELSE '' END
FROM kept_function;

SELECT is(actual_volatility, volatility, format('%s(%s) is %s', name, arguments, volatility))
FROM kept_function;

SELECT is((SELECT c.title FROM caller c
           WHERE has_function_privilege(c.role, f.oid, 'EXECUTE') ORDER BY c.rank LIMIT 1),
          f.may_call,
          format('%s(%s) may be called by %s and above', name, arguments, may_call))
FROM kept_function f;

-- Views.

SELECT is((SELECT array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname = ANY (v.columns))
           FROM extension_relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
           WHERE r.relname = v.name AND r.relkind = 'v'),
          v.columns, format('view %s has its columns, in order', v.name))
FROM promised_view v;

-- Roles, each a member of the one below; none can log in.

SELECT has_role('cachegrid_reader');
SELECT has_role('cachegrid_writer');
SELECT has_role('cachegrid_admin');
SELECT ok(pg_has_role('cachegrid_writer', 'cachegrid_reader', 'USAGE'), 'a writer is a reader');
SELECT ok(pg_has_role('cachegrid_admin', 'cachegrid_writer', 'USAGE'), 'an admin is a writer');
SELECT ok(NOT pg_has_role('cachegrid_reader', 'cachegrid_writer', 'USAGE'), 'a reader is no writer');
SELECT ok(NOT pg_has_role('cachegrid_writer', 'cachegrid_admin', 'USAGE'), 'a writer is no admin');
SELECT is_empty($$SELECT rolname FROM pg_roles
                  WHERE rolname LIKE 'cachegrid\_%' AND (rolcanlogin OR rolsuper)$$,
                'the roles cannot log in');

-- The schema, and nothing for PUBLIC.

SELECT has_schema('cachegrid');
SELECT ok(has_schema_privilege('cachegrid_reader', 'cachegrid', 'USAGE'),
          'a reader may use the schema');
SELECT ok(NOT has_schema_privilege('contract_stranger', 'cachegrid', 'USAGE'),
          'the schema is not for everybody');
SELECT is_empty($$SELECT oid::regprocedure FROM extension_function
                  WHERE has_function_privilege('contract_stranger', oid, 'EXECUTE')$$,
                'no function is for everybody');
SELECT is_empty($$SELECT oid::regclass FROM extension_relation
                  WHERE relkind <> 'S'
                    AND has_table_privilege('contract_stranger', oid,
                                            'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')$$,
                'no table and no view is for everybody');

-- Servers are declared the way of PostgreSQL, by whom an admin lets.

SELECT isnt_empty($$SELECT FROM pg_foreign_data_wrapper WHERE fdwname = 'cachegrid_redis'$$,
                  'Redis servers have their foreign data wrapper');
SELECT ok(NOT has_foreign_data_wrapper_privilege('contract_stranger', 'cachegrid_redis', 'USAGE'),
          '... which is not for everybody');

-- What holds for each function and view.

SELECT is_empty($$SELECT p.oid::regprocedure FROM extension_function p
                  WHERE has_function_privilege('cachegrid_admin', p.oid, 'EXECUTE')
                    AND p.oid NOT IN (SELECT oid FROM kept_function WHERE oid IS NOT NULL)
                    AND p.proname NOT IN ('capture', 'capture_statement', 'check_policy', 'check_choice', 'check_time', 'check_number', 'preload_progress', 'loader_of_function', 'mirror_status', 'mirror_progress',
                                          'prepared_stamps')
                    AND p.proname NOT IN (SELECT name FROM promised_view)$$,
                'no function may be called that is not promised, but what these stand on');
SELECT is_empty($$SELECT r.oid::regclass FROM extension_relation r
                  WHERE has_table_privilege('cachegrid_admin', r.oid, 'SELECT')
                    AND r.relkind <> 'S' AND r.relname NOT IN ('cache', 'mirror_parked')
                    AND r.relname NOT IN (SELECT name FROM promised_view)$$,
                'no view may be read that is not promised');
SELECT is_empty($$SELECT p.oid::regprocedure FROM kept_function f JOIN pg_proc p USING (oid)
                  WHERE p.proparallel = 's'$$,
                'no promised function runs in parallel workers');
SELECT is_empty($$SELECT p.oid::regprocedure FROM extension_function p
                  JOIN pg_language l ON l.oid = p.prolang
                  WHERE l.lanname IN ('sql', 'plpgsql')
                    AND (p.proconfig IS NULL OR NOT EXISTS (
                        SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%'))$$,
                'each body of SQL or plpgsql sets its search_path');
SELECT is_empty($$SELECT oid::regprocedure::text FROM extension_function
                  WHERE obj_description(oid, 'pg_proc') IS NULL
                  UNION ALL
                  SELECT oid::regclass::text FROM extension_relation
                  WHERE relkind <> 'S' AND obj_description(oid, 'pg_class') IS NULL$$,
                'each function, table and view has a comment');
-- A comment that begins with "As" leaves its arguments to that of a namesake.
SELECT is_empty($$SELECT f.oid::regprocedure, missing
                  FROM kept_function f, LATERAL (
                      SELECT unnest(p.proargnames[1:p.pronargs]) || '\M' AS missing
                      FROM pg_proc p WHERE p.oid = f.oid
                      UNION ALL
                      VALUES ('NULL'), ('Example: ')) w
                  WHERE obj_description(f.oid, 'pg_proc') !~ ('\m' || missing)
                    AND (missing = 'Example: ' OR obj_description(f.oid, 'pg_proc') !~ '^As ')$$,
                'the comment of a function names its arguments, tells of NULL, and has an example');
SELECT is_empty($$SELECT v.name FROM promised_view v
                  WHERE obj_description(format('cachegrid.%I', v.name)::regclass, 'pg_class') !~ 'Example: '$$,
                'the comment of a view has an example');

SELECT * FROM finish();
ROLLBACK;
