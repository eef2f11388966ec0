-- readers.sql: in which sessions and transactions the checks are made.
--
-- "-- script NAME WEIGHT [SQLSTATE...]": how often it is drawn among those of
-- its file, and what it may end with beside deadlocks, cancels and the like.
-- \check NAME makes a check, \sleep is in milliseconds, \gset at the end of a
-- statement keeps its columns as variables, \compare compares the columns cached
-- and computed of its rows, \declare NAME ends it with the query of a check.
-- \publish and \subscribe hand a variable from one session to another.
-- "primary" in the list of a script: not on a standby; "rare": need not ever
-- get to its end.

-- script rows 2500
\check item
\check item
\check item

-- script all_rows 20
\check items

-- script get 60
\check get
\check mget

-- script lists 100
\check list

-- script sums 60
\check sum
\check shelves
\check partition
\check inlined
\check view
\check stock
\check join_whole

-- script slow 60
\check slow
\check card

-- script twins 150
\check twin
\check pair

-- script others 150
\check shelf
\check owner
\check pet
\check total
\check wide
\check crate

-- script joins 60
\check join
\check other_query
\check bonus
\check page

-- script roles 60
SET ROLE {alice|bob};
\check secret
SET ROLE {alice|bob};
\check secret_get
\check secret
\check pair
RESET ROLE;
\check secret

-- script repeatable_read 150
BEGIN ISOLATION LEVEL REPEATABLE READ;
\check {item|sum}
\check {list|twin}
\sleep {0|2|10}
\check item
\check pair
\check {join|total|view}
\sleep {0|5|30}
\check item
\check {slow|shelf|list|card|sum}
\check {pet|owner|wide|crate|page}
COMMIT;

-- script partitions_of_then 120
BEGIN ISOLATION LEVEL REPEATABLE READ;
\check {shelf|shelves}
\sleep {5|30}
\check shelf
\check shelves
COMMIT;
\check shelf
\check shelves

-- script atomic 60
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT cachegrid.fetch('twin:' || :twin || ':0') ->> 'mark' AS mark \gset
\sleep {1|5|10}
SELECT 'twin:' || :twin AS key, cachegrid.fetch('twin:' || :twin || ':1') ->> 'mark' AS cached, :mark AS computed \compare
COMMIT;

-- script cursor 60
BEGIN;
DECLARE c {NO SCROLL|INSENSITIVE|} CURSOR FOR \declare item
FETCH 5 FROM c \compare
\sleep {1|5}
\check item
FETCH 10 FROM c \compare
\sleep {1|5|10}
FETCH ALL FROM c \compare
{COMMIT|ROLLBACK};

-- script hold 10
BEGIN;
DECLARE c CURSOR WITH HOLD FOR \declare item
FETCH 5 FROM c \compare
COMMIT;
FETCH ALL FROM c \compare
CLOSE c;

-- script serializable 20 primary
BEGIN ISOLATION LEVEL SERIALIZABLE{| READ ONLY};
\check item
\sleep 2
\check {sum|pair}
COMMIT;

-- script parallel 20
BEGIN;
SELECT set_config(name, 'on', true) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
\check {items|sum}
\check item
COMMIT;

-- script exported 30 55000 22023 42704
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_export_snapshot() AS snapshot \gset
\publish snapshot
\check item
\sleep 100
\check item
COMMIT;

-- script imported 30 55000 22023 42704
\subscribe snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET TRANSACTION SNAPSHOT :snapshot;
\check item
\check {twin|list|sum}
\sleep {1|20}
\check item
\check pair
COMMIT;

-- script function 60
SELECT compare_items(:items);

-- script prepared 30
PREPARE p(int[]) AS SELECT 'item:' || i AS key, cachegrid.fetch('item:' || i) AS cached, to_jsonb(t) AS computed FROM unnest($1) i LEFT JOIN item t ON t.id = i;
EXECUTE p(:items) \compare
\sleep 1
EXECUTE p(:items2) \compare
DEALLOCATE p;

-- script fill_page 60 primary
SELECT coalesce(token, '') AS token FROM cachegrid.lookup('page:' || :grp, ARRAY['grp:' || :grp]) \gset
SELECT jsonb_agg(i ORDER BY id) AS page FROM item i WHERE grp = :grp \gset
\sleep {0|1}
SELECT cachegrid.fill('page:' || :grp, :page::text, :token, tags => ARRAY['grp:' || :grp]);
\check page
