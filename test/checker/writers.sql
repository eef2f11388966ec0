-- writers.sql: the ways in which rows change.  For the form see readers.sql.

-- script update 100
UPDATE item SET n = n + 1 WHERE id = :item;
\check item

-- script update_twin 80
BEGIN;
UPDATE twin SET mark = md5(:any::text) WHERE id = :twin AND side = {0|1};
\sleep {0|0|1}
UPDATE twin SET mark = md5(:any::text) WHERE id = :twin;
{COMMIT|COMMIT|COMMIT|ROLLBACK};
\check pair
\check twin

-- script twins_come_and_go 20
WITH gone AS (DELETE FROM twin WHERE id = :twin RETURNING id)
INSERT INTO item (id, grp, n) SELECT DISTINCT id, 0, 0 FROM gone ON CONFLICT (id) DO UPDATE SET n = item.n + 1;
\check pair
\sleep 1
INSERT INTO twin (id, side, mark) VALUES (:twin, 0, :any), (:twin, 1, :any) ON CONFLICT (id, side) DO UPDATE SET mark = excluded.mark;
\check pair

-- script insert_delete 60 23505
BEGIN;
DELETE FROM item WHERE id = :item;
\check item
{INSERT INTO item (id, grp, n) VALUES (:item, :grp, :any) ON CONFLICT (id) DO NOTHING|};
{COMMIT|COMMIT|ROLLBACK};
\sleep 1
INSERT INTO item (id, grp, n) VALUES (:item, :grp, :any) ON CONFLICT (id) DO NOTHING;

-- script upsert 40 21000
INSERT INTO item (id, grp, n) VALUES (:item, :grp, 0), (:item2, :grp2, 0) ON CONFLICT (id) DO UPDATE SET n = item.n + 1, grp = excluded.grp;

-- script fill_gaps 20
INSERT INTO item (id, grp, n, filler) SELECT i, i % 20, 0, repeat('y', i) FROM generate_series(1, 400) i ON CONFLICT (id) DO NOTHING;

-- script merge 40 23505 21000
MERGE INTO item USING (VALUES (:item, 5), (:item2, 6)) AS source(id, n) ON item.id = source.id
WHEN MATCHED AND item.n % 7 = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET n = item.n + source.n
WHEN NOT MATCHED THEN INSERT (id, grp, n) VALUES (source.id, :grp, source.n);
\check item

-- script writable_cte 40
WITH changed AS (UPDATE item SET n = n + 1 WHERE id = :item RETURNING id, n),
     moved AS (UPDATE item SET grp = :grp WHERE id = :item2 AND id <> :item RETURNING id)
SELECT 'item:' || i AS key, cachegrid.fetch('item:' || i) AS cached, to_jsonb(t) AS computed
FROM unnest(ARRAY[:item, :item2, 1]) i LEFT JOIN item t ON t.id = i WHERE (SELECT count(*) FROM changed) >= 0 \compare
\check item

-- script returning 30
UPDATE item SET n = n + 1 WHERE id IN (:item, :item2) RETURNING compare_items(ARRAY[:item, :item2]);

-- script explain_analyze 20
EXPLAIN (ANALYZE, COSTS off) UPDATE item SET n = n + 1 WHERE id = :item;

-- script copy 20 23505
BEGIN;
DELETE FROM item WHERE id IN (:item, :item2);
COPY item (id, grp, n) FROM STDIN (FORMAT csv) \copy :item,:grp,:any
\check item
COMMIT;

-- script cascade 40 23503 23505
BEGIN;
UPDATE owner SET n = n + 1 WHERE id = :owner;
{UPDATE owner SET id = id + 1000 WHERE id = :owner2|DELETE FROM owner WHERE id = :owner2|DELETE FROM owner WHERE id IN (:owner3, :owner2)};
\check pet
\check owner
{SET CONSTRAINTS ALL IMMEDIATE||};
\check join
{COMMIT|COMMIT|ROLLBACK};
\check join_whole

-- script owners_come_back 40 23503 23505
INSERT INTO owner VALUES (0, 0), (:owner, 0), (:owner2, 0) ON CONFLICT (id) DO NOTHING;
INSERT INTO pet (id, owner, friend, heir) SELECT DISTINCT i, :owner, :owner, :owner2 FROM unnest(:pets) i ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, friend = excluded.friend, heir = excluded.heir;
DELETE FROM owner WHERE id > 1000 AND random() < 0.3;

-- script truncate_cascade 2 23503
BEGIN;
TRUNCATE owner RESTART IDENTITY CASCADE;
\check pet
INSERT INTO owner SELECT i, 0 FROM generate_series(0, 40) i;
INSERT INTO pet (id, owner, friend, heir) SELECT i, 1 + i % 40, 1 + i % 7, 1 + i % 11 FROM generate_series(1, 120) i;
{COMMIT|COMMIT|ROLLBACK};
\check owner

-- script truncate_item 1
BEGIN;
TRUNCATE item;
\check list
INSERT INTO item (id, grp, n) SELECT i, i % 20, :any FROM generate_series(1, 400) i;
{COMMIT|COMMIT|ROLLBACK};
\check item

-- script deferred 40
BEGIN;
UPDATE entry SET n = n + :any WHERE id = :entry;
UPDATE entry SET n = n + :any, total = {total|total|:total} WHERE id = :entry2;
\check total
{SET CONSTRAINTS ALL IMMEDIATE|};
{COMMIT|COMMIT|ROLLBACK};
\check total

-- script views 30
UPDATE item_view SET n = n + 1 WHERE id = :item;
UPDATE item_ruled SET n = n + 1 WHERE id = :item2;
UPDATE item SET n = n + 1 WHERE id % 40 = 0 AND id = 40 * (:any % 10);
\check view

-- script refresh 6 55000
REFRESH MATERIALIZED VIEW {CONCURRENTLY|} stock;
\check stock

-- script move_between_partitions 40 23505 40001 23514
BEGIN;
UPDATE shelf SET n = n + 1, place = {'a'|'b'} WHERE id = :shelf;
\check shelf
{COMMIT|COMMIT|ROLLBACK};
\check shelves
\check partition

-- script partition_itself 20 23505
UPDATE shelf_{a|b} SET n = n + 1 WHERE id IN (:shelf, :shelf2);
\check shelf
DELETE FROM shelf_a WHERE id = :shelf3;
INSERT INTO shelf (id, place, n) VALUES (:shelf3, {'a'|'b'}, :any);

-- script savepoints 60
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :item;
\check item
SAVEPOINT s;
UPDATE item SET n = n + 10 WHERE id = :item2;
\check item
SAVEPOINT t;
UPDATE item SET n = n + 100 WHERE id IN (:item, :item2);
DELETE FROM item WHERE id = :item3;
{ROLLBACK TO s|RELEASE s|ROLLBACK TO t};
\check item
\check {sum|list|get}
UPDATE item SET n = n + 100 WHERE id IN (:item2, :item4);
{COMMIT|COMMIT|ROLLBACK};
\check item

-- script savepoint_first 20
BEGIN;
SAVEPOINT s;
UPDATE {item SET n = n + 1 WHERE id = :item|shelf SET n = n + 1 WHERE id = :shelf};
ROLLBACK TO s;
UPDATE item SET n = n + 1 WHERE id = :item2;
UPDATE shelf SET n = n + 1 WHERE id = :shelf2;
{COMMIT|COMMIT|ROLLBACK};
\check sum
\check shelves

-- script deadlocks 20
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :item;
UPDATE item SET n = n + 1 WHERE id = :item2;
UPDATE item SET n = n + 1, grp = (grp + 1) % 20 WHERE id = :item3;
UPDATE item SET n = n + 1 WHERE id = :item4;
\check item
COMMIT;

-- script many_rows 4
UPDATE item SET n = n + 1 WHERE id IN (SELECT id FROM item WHERE grp = :grp ORDER BY id FOR UPDATE);
\check list

-- script too_many_keys 3
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :item;
SAVEPOINT s;
SELECT count(cachegrid.invalidate('none:' || i)) FROM generate_series(1, 9000) i;
UPDATE item SET n = n + 1 WHERE id = :item2;
{ROLLBACK TO s|RELEASE s};
\check item
COMMIT;
\check item

-- script prepare 30 42710 42704 0A000
BEGIN;
UPDATE item SET n = n + 1 WHERE id IN (:item, :item2);
UPDATE twin SET mark = :any WHERE id = :twin;
PREPARE TRANSACTION 'checker :me';
\check item
\sleep {0|3}
{COMMIT PREPARED 'checker :me'|ROLLBACK PREPARED 'checker :me'};
\check item

-- script leave_prepared 3 42710 0A000
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :item;
UPDATE twin SET mark = :any WHERE id = :twin;
PREPARE TRANSACTION 'left :any';
\check item

-- script exceptions 40
SELECT change_with_exceptions(:item, :item2);

-- script definer 20
SET ROLE {alice|bob};
SELECT change_as_definer(:item);
\check twin
RESET ROLE;
\check item

-- script procedure 20
CALL change_and_commit(:item, :item2);

-- script do 20
DO $$ BEGIN UPDATE item SET n = n + 1 WHERE id = :item; PERFORM compare_items(:items); END $$;

-- script prepared_statement 30
PREPARE change(int, bigint) AS UPDATE item SET n = $2 WHERE id = $1;
EXECUTE change(:item, :any);
\check item
EXECUTE change(:item2, :any);
\check item
DEALLOCATE change;

-- script current_of 20 24000
BEGIN;
DECLARE c CURSOR FOR SELECT id, n FROM item WHERE grp = :grp FOR UPDATE;
FETCH c;
UPDATE item SET n = n + 1 WHERE CURRENT OF c;
\check item
FETCH c;
DELETE FROM item WHERE CURRENT OF c;
\check list
{COMMIT|ROLLBACK};

-- script repeatable_read_writer 40
BEGIN ISOLATION LEVEL REPEATABLE READ;
\check item
UPDATE item SET n = n + 1 WHERE id = :item;
\check item
\sleep {0|3}
UPDATE twin SET mark = :any WHERE id = :twin;
\check pair
\check {list|sum|twin}
COMMIT;

-- script serializable_writer 10
BEGIN ISOLATION LEVEL SERIALIZABLE;
\check item
UPDATE item SET n = n + 1 WHERE id = :item;
COMMIT;

-- script invalidate 5
SELECT cachegrid.invalidate('item:' || :item), cachegrid.invalidate_tags('grp:' || :grp);

-- script clear 1
SELECT cachegrid.clear('{item|twin|slow|default}');

-- script secrets 20
UPDATE secret SET n = n + 1, whose = {whose|'alice'|'bob'} WHERE id = :secret;

-- script crates 20 42P01 XX000 55000
UPDATE crate SET n = n + 1 WHERE id = :crate;
\check crate

-- script wides 30 42P01 42703 22003 XX000 55000
UPDATE wide SET n = n + 1 WHERE id = :wide;
\check wide
