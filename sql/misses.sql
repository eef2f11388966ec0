-- Why a read was no hit: each reason has its count.

CREATE TABLE shelf (id int PRIMARY KEY, name text);
INSERT INTO shelf SELECT n, 'old' FROM generate_series(1, 9) AS n;
SELECT cachegrid.watch('shelf', ARRAY['shelf:{id}'], ARRAY['shelf:all']);

-- what grew since it was asked last
CREATE FUNCTION counts() RETURNS TABLE (name text, value bigint) LANGUAGE sql AS $$
    SELECT key, sum(value::bigint)::bigint FROM cachegrid.stat_cache AS s, jsonb_each_text(to_jsonb(s))
    WHERE key IN ('hits', 'misses', 'bypasses') OR key ~ '^miss_' GROUP BY key $$;
CREATE TABLE counted AS SELECT * FROM counts();
CREATE FUNCTION why() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    grown text;
BEGIN
    SELECT string_agg(format('%s %s', c.name, c.value - was.value), ', ' ORDER BY c.name) INTO grown
    FROM counts() AS c JOIN counted AS was USING (name) WHERE c.value <> was.value;
    RETURN grown;
END
$$;
CREATE FUNCTION note() RETURNS void LANGUAGE sql AS $$ UPDATE counted SET value = (SELECT c.value FROM counts() AS c WHERE c.name = counted.name) $$;
CREATE FUNCTION named(id int) RETURNS text LANGUAGE sql AS $$
    SELECT cachegrid.fetch('shelf:' || id, 'SELECT to_jsonb(name) FROM shelf WHERE id = $1', ARRAY[id::text])::text $$;

-- absent, then a hit
SELECT note();
SELECT cachegrid.get('plain:1'), named(1);
SELECT why();
SELECT note();
SELECT named(1), cachegrid.get('shelf:1');
SELECT why();

-- superseded: deleted
SELECT cachegrid.set('plain:1', 'here');
SELECT cachegrid.delete('plain:1'), note();
SELECT cachegrid.get('plain:1');
SELECT why();

-- superseded: its row changed
UPDATE shelf SET name = 'new' WHERE id = 1;
SELECT note();
SELECT cachegrid.get('shelf:1');
SELECT why();
SELECT note();
SELECT named(1);
SELECT why();

-- by a tag, which leaves the entry where it is
SELECT cachegrid.fetch('list', 'SELECT to_jsonb(count(*)) FROM shelf', tags => '{shelf:all}');
INSERT INTO shelf VALUES (10, 'more');
SELECT note();
SELECT cachegrid.fetch('list', 'SELECT to_jsonb(count(*)) FROM shelf', tags => '{shelf:all}');
SELECT why();

-- by clear
SELECT named(2);
SELECT cachegrid.clear() > 0, note();
SELECT named(2);
SELECT why();

-- expired
SELECT cachegrid.set('plain:2', 'short', ttl => '1 ms');
SELECT pg_sleep(0.01), note();
SELECT cachegrid.get('plain:2');
SELECT why();

-- evicted
SELECT cachegrid.create_cache('narrow', max_memory => '64kB', transactional => false);
SELECT count(cachegrid.set('narrow:' || n, repeat('x', 1000))) FROM generate_series(1, 100) AS n;
SELECT note();
SELECT count(*) > 30 AS many FROM generate_series(1, 100) AS n WHERE cachegrid.get('narrow:' || n) IS NULL;
SELECT split_part(unnest, ' ', 1) FROM unnest(string_to_array(why(), ', ')) WHERE unnest NOT LIKE 'miss_absent%';
SELECT cachegrid.drop_cache('narrow');

-- unsettled: a transaction that is in doubt has changed the row
BEGIN;
UPDATE shelf SET name = 'newer' WHERE id = 2;
PREPARE TRANSACTION 'misses';
SELECT note();
SELECT named(2);
SELECT why();
COMMIT PREPARED 'misses';
SELECT note();
SELECT named(2);
SELECT why();

-- privileges: another role computes for itself
CREATE ROLE regress_misses;
GRANT cachegrid_writer TO regress_misses;
GRANT SELECT ON shelf TO regress_misses;
SELECT named(3), note();
SET ROLE regress_misses;
SELECT named(3);
RESET ROLE;
SELECT why();

-- another query
SELECT named(4), note();
SELECT cachegrid.fetch('shelf:4', 'SELECT to_jsonb(upper(name)) FROM shelf WHERE id = $1', '{4}');
SELECT why();

-- own changes
SELECT named(5), note();
BEGIN;
UPDATE shelf SET name = 'mine' WHERE id = 5;
SELECT named(5);
ROLLBACK;
SELECT why();

-- isolation
SELECT named(6), note();
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT named(6);
COMMIT;
SELECT why();

-- they add up
SELECT bool_and(misses = miss_absent + miss_evicted + miss_expired + miss_superseded + miss_unsettled + miss_privileges + miss_other_query)
   AND bool_and(bypasses = miss_own_write + miss_isolation + miss_recovery) FROM cachegrid.stat_cache;

DROP TABLE shelf;
DROP TABLE counted;
DROP FUNCTION counts(), why(), note(), named(int);
REVOKE cachegrid_writer FROM regress_misses;
DROP ROLE regress_misses;
