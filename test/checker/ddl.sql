-- ddl.sql: changes of definitions.  For the form see readers.sql.

-- script partitions 60 42P01 42P07 42809 55000 23514 55006 XX000
BEGIN;
CREATE TABLE shelf_new PARTITION OF shelf FOR VALUES IN ('n');
INSERT INTO shelf (id, place, n) SELECT i, 'n', 0 FROM unnest(:shelfs) i ON CONFLICT DO NOTHING;
\check shelf
{COMMIT|COMMIT|COMMIT|ROLLBACK};
\check shelf
\sleep 20
UPDATE shelf SET n = n + 1 WHERE place = 'n' AND id IN (:shelf, :shelf2);
\check shelf

-- script partitions_leave 20 42P01 42P07 42809 55000 23514 55006 XX000
{DROP TABLE shelf_new|ALTER TABLE shelf DETACH PARTITION shelf_new|ALTER TABLE shelf DETACH PARTITION shelf_new CONCURRENTLY};
\check shelf
\check shelves

-- script partitions_leave_halfway 60 rare 57014 42P01 42809 55000 55006 XX000
SET statement_timeout = '{5|10|20}ms';
ALTER TABLE shelf DETACH PARTITION shelf_new CONCURRENTLY;

-- script partitions_finalize 4 rare 42P01 42809 55000 55006 XX000
ALTER TABLE shelf DETACH PARTITION shelf_new FINALIZE;
\check shelf

-- script partitions_come_back 20 42P01 42P07 42809 55000 23514 55006 XX000 42P17
UPDATE shelf_new SET n = n + 1;
ALTER TABLE shelf ATTACH PARTITION shelf_new FOR VALUES IN ('n');
\check shelf
\sleep 10
\check shelves

-- script partitions_gone 4
DROP TABLE IF EXISTS shelf_new;

-- script columns 20 42P01 42701 42703 22003 XX000 55000
BEGIN;
{ALTER TABLE wide ALTER n TYPE bigint|ALTER TABLE wide ALTER n TYPE int|ALTER TABLE wide ALTER n TYPE numeric};
\check wide
{COMMIT|COMMIT|ROLLBACK};
\check wide

-- script more_columns 10 42P01 42701 42703 XX000 55000
{ALTER TABLE wide ADD more text DEFAULT 'more'|ALTER TABLE wide DROP more};
\check wide

-- script other_names 10 42P01 42703 42701 XX000 55000
ALTER TABLE wide RENAME n TO number;
\check wide
ALTER TABLE wide ADD n int DEFAULT 7;
\check wide
ALTER TABLE wide DROP number;

-- script template_column 10 42P01 42703 42701 XX000 55000 2BP01
ALTER TABLE wide RENAME id TO key;
\sleep {0|2}
ALTER TABLE wide RENAME key TO id;
\check wide
{ALTER TABLE wide ALTER id TYPE bigint|ALTER TABLE wide ALTER id TYPE int};
\check wide

-- script again 20 42P07 XX000
BEGIN;
DROP TABLE IF EXISTS wide;
SELECT make_wide();
{COMMIT|COMMIT|ROLLBACK};
\check wide

-- script triggers 6 42P01 XX000
ALTER TABLE wide DISABLE TRIGGER ALL;
\sleep 10
ALTER TABLE wide ENABLE TRIGGER ALL;

-- script unwatched 6 42P01 42703 55000 42704
SELECT cachegrid.unwatch('wide');
UPDATE wide SET n = 1 + :any % 100 WHERE id < 10;
SELECT cachegrid.watch('wide', ARRAY['wide:{id}']);
\check wide

-- script less_templates 10
SELECT cachegrid.watch('owner', ARRAY['owner:{id}']);
\check join
\sleep 50

-- script more_templates 10
SELECT cachegrid.watch('owner', ARRAY['owner:{id}', 'home:{id}']);
\check join
\sleep 50

-- script view 20
BEGIN;
CREATE OR REPLACE VIEW bargain AS SELECT id, n {+|-} :any AS n FROM item WHERE id % 40 = {0|1};
\check view
\sleep {0|5}
{COMMIT|COMMIT|ROLLBACK};
\check view

-- script function 20 XX000
BEGIN;
LOCK TABLE gate IN ACCESS EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION bonus(n bigint) RETURNS bigint LANGUAGE {sql IMMUTABLE AS 'SELECT n + :any'|plpgsql IMMUTABLE AS 'BEGIN RETURN n - :any; END'};
\check bonus
\sleep {0|5}
{COMMIT|COMMIT|ROLLBACK};
\check bonus

-- script policy 10 42710 42704
BEGIN;
DROP POLICY IF EXISTS own ON secret;
CREATE POLICY own ON secret USING (whose = current_user{| AND id % 2 = 0| OR id = 1});
{COMMIT|COMMIT|ROLLBACK};
SET ROLE {alice|bob};
\check secret
RESET ROLE;

-- script caches 10
SELECT cachegrid.alter_cache('slow', ttl => '{1 hour|10 milliseconds}');
\check slow

-- script matview 4 55000
BEGIN;
DROP MATERIALIZED VIEW stock;
CREATE MATERIALIZED VIEW stock AS SELECT grp, {sum|count|max}(n)::numeric AS n FROM item GROUP BY grp;
CREATE UNIQUE INDEX ON stock (grp);
{COMMIT|ROLLBACK};
\check stock

-- script vacuum 2 XX000
{VACUUM item|VACUUM FULL item|CLUSTER item USING item_pkey|REINDEX TABLE item|ANALYZE item};
\check item
