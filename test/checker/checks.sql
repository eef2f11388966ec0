-- checks.sql: what is read from the cache, beside what it should be.
--
-- A check is one statement, so both are read under one snapshot: fetch() and
-- get() use the active one, which is that of the statement that calls them.
-- Its rows are (key, cached, computed); the checker asks for those that differ.
-- A read that misses computes under the same snapshot and agrees by itself:
-- what counts are the hits, and those the server counts.
--
-- Words after a check's name are SQLSTATEs that it may end with.  "recheck":
-- which partitions there are a statement learns when it is planned, before its
-- snapshot is taken, so that the comparison itself may be of two minds while
-- one comes or goes: there a difference counts if it is still there in the
-- statements that follow.  :item is a
-- number drawn at random, few of them often; :items an array of them; drawn
-- once in a script.  {a|b} is one of several.

-- check item
SELECT 'item:' || i AS key, cachegrid.fetch('item:' || i) AS cached, to_jsonb(t) AS computed
FROM unnest(:items) i LEFT JOIN item t ON t.id = i;

-- check items
SELECT 'item:' || t.id AS key, cachegrid.fetch('item:' || t.id) AS cached, to_jsonb(t) AS computed
FROM item t;

-- check get
SELECT 'item:' || i AS key, cached, CASE WHEN cached IS NOT NULL THEN to_jsonb(t) END AS computed
FROM (SELECT i, cachegrid.get('item:' || i, NULL::jsonb) AS cached FROM unnest(:items) i OFFSET 0) got
LEFT JOIN item t ON t.id = i;

-- check mget
SELECT 'item:' || i AS key, cached, to_jsonb(t)::text AS computed
FROM unnest(:items, cachegrid.mget(ARRAY(SELECT 'item:' || i FROM unnest(:items) i))) AS got(i, cached)
LEFT JOIN item t ON t.id = i WHERE cached IS NOT NULL;

-- check list
SELECT 'list:' || g AS key,
       cachegrid.fetch('list:' || g, 'SELECT jsonb_agg(i ORDER BY id) FROM item i WHERE grp = $1', ARRAY[g::text], tags => ARRAY['grp:' || g]) AS cached,
       (SELECT jsonb_agg(i ORDER BY id) FROM item i WHERE grp = g) AS computed
FROM unnest(:grps) g;

-- check sum
SELECT 'sum' AS key, cachegrid.fetch('sum', 'SELECT count(*), sum(n), max(writer) FROM item') AS cached,
       (SELECT to_jsonb(s) FROM (SELECT count(*), sum(n), max(writer) FROM item) s) AS computed;

-- check inlined
SELECT 'inlined' AS key, cachegrid.fetch('inlined', 'SELECT count(*), sum(n) FROM items_of(7) WHERE n > 0', tags => '{none}') AS cached,
       (SELECT to_jsonb(s) FROM (SELECT count(*), sum(n) FROM item WHERE grp = 7 AND n > 0) s) AS computed;

-- check slow
SELECT 'slow:' || i AS key, cachegrid.fetch('slow:' || i) AS cached,
       (SELECT to_jsonb(t) FROM item t WHERE id = i) AS computed
FROM unnest(ARRAY[:item, :item2]) i;

-- check card
SELECT 'card:' || i AS key, cachegrid.fetch('card:' || i) AS cached,
       (SELECT jsonb_build_array((SELECT to_jsonb(t) FROM item t WHERE id = i), (SELECT to_jsonb(t) FROM item t WHERE id = i + 1))) AS computed
FROM unnest(ARRAY[:item, :item2]) i;

-- check page
SELECT 'page:' || g AS key, cached,
       CASE WHEN cached IS NOT NULL THEN (SELECT jsonb_agg(i ORDER BY id)::text FROM item i WHERE grp = g) END AS computed
FROM (SELECT g, cachegrid.get('page:' || g) AS cached FROM unnest(:grps) g OFFSET 0) got;

-- check twin
SELECT 'twin:' || i || ':' || s AS key, cachegrid.fetch('twin:' || i || ':' || s) AS cached, to_jsonb(t) AS computed
FROM unnest(:twins) i CROSS JOIN generate_series(0, 1) s LEFT JOIN twin t ON t.id = i AND t.side = s;

-- check pair
SELECT 'twin:' || i AS key, cachegrid.fetch('twin:' || i || ':0') ->> 'mark' AS cached,
       cachegrid.fetch('twin:' || i || ':1') ->> 'mark' AS computed
FROM unnest(:twins) i;

-- check shelf recheck 42P01 XX000
SELECT 'shelf:' || i AS key, cachegrid.fetch('shelf:' || i) AS cached,
       (SELECT jsonb_agg(s ORDER BY place) FROM shelf s WHERE id = i) AS computed
FROM unnest(:shelfs) i;

-- check shelves recheck 42P01 XX000
SELECT 'shelves' AS key, cachegrid.fetch('shelves', 'SELECT count(*), sum(n), max(writer) FROM shelf') AS cached,
       (SELECT to_jsonb(s) FROM (SELECT count(*), sum(n), max(writer) FROM shelf) s) AS computed;

-- check partition
SELECT 'part_a' AS key, cachegrid.fetch('part_a', 'SELECT count(*), sum(n), max(writer) FROM shelf_a') AS cached,
       (SELECT to_jsonb(s) FROM (SELECT count(*), sum(n), max(writer) FROM shelf_a) s) AS computed;

-- check owner
SELECT 'owner:' || i AS key, cachegrid.fetch('owner:' || i) AS cached, to_jsonb(o) AS computed
FROM unnest(:owners) i LEFT JOIN owner o ON o.id = i;

-- check pet
SELECT 'pet:' || i AS key, cachegrid.fetch('pet:' || i) AS cached, to_jsonb(p) AS computed
FROM unnest(:pets) i LEFT JOIN pet p ON p.id = i;

-- check other_query
SELECT 'pet:' || i AS key, cachegrid.fetch('pet:' || i, 'SELECT owner FROM pet WHERE id = $1', ARRAY[i::text]) AS cached,
       (SELECT to_jsonb(owner) FROM pet WHERE id = i) AS computed
FROM unnest(ARRAY[:pet, :pet2]) i;

-- check join
SELECT 'home:' || i AS key,
       cachegrid.fetch('home:' || i, 'SELECT jsonb_agg(jsonb_build_array(o.n, p.id, p.writer) ORDER BY p.id) FROM owner o JOIN pet p ON p.owner = o.id WHERE o.id = $1 AND p.owner = $1',
           ARRAY[i::text], tags => ARRAY['pets:' || i]) AS cached,
       (SELECT jsonb_agg(jsonb_build_array(o.n, p.id, p.writer) ORDER BY p.id) FROM owner o JOIN pet p ON p.owner = o.id WHERE o.id = i) AS computed
FROM unnest(ARRAY[:owner, :owner2]) i;

-- check join_whole
SELECT 'homes' AS key,
       cachegrid.fetch('homes', 'SELECT jsonb_agg(jsonb_build_array(o.id, o.n, p.id, p.writer) ORDER BY o.id, p.id) FROM owner o JOIN pet p ON p.friend = o.id') AS cached,
       (SELECT jsonb_agg(jsonb_build_array(o.id, o.n, p.id, p.writer) ORDER BY o.id, p.id) FROM owner o JOIN pet p ON p.friend = o.id) AS computed;

-- check total
SELECT 'total:' || i AS key, cachegrid.fetch('total:' || i) AS cached, to_jsonb(t) AS computed
FROM generate_series(0, 9) i LEFT JOIN total t ON t.id = i;

-- check view
SELECT 'bargain' AS key, cachegrid.fetch('bargain', 'SELECT jsonb_agg(b ORDER BY id) FROM bargain b') AS cached,
       (SELECT jsonb_agg(b ORDER BY id) FROM bargain b) AS computed;

-- check stock
SELECT 'stock' AS key, cachegrid.fetch('stock', 'SELECT jsonb_agg(s ORDER BY grp) FROM stock s', ttl => '1 hour') AS cached,
       (SELECT jsonb_agg(s ORDER BY grp) FROM stock s) AS computed;

-- check bonus
SELECT 'bonus:' || i AS key, cachegrid.fetch('bonus:' || i, 'SELECT bonus(n) FROM item WHERE id = $1', ARRAY[i::text]) AS cached,
       (SELECT to_jsonb(bonus(n)) FROM item WHERE id = i) AS computed
FROM gate, unnest(ARRAY[:item, :item2]) i;

-- check wide 42P01 42703 XX000 55000 0A000
SELECT 'wide:' || i AS key, cachegrid.fetch('wide:' || i) AS cached, to_jsonb(w) AS computed
FROM unnest(:wides) i LEFT JOIN wide w ON w.id = i;

-- check crate 42P01 XX000 55000 0A000
SELECT 'crate:' || i AS key, cachegrid.fetch('crate:' || i) AS cached, to_jsonb(c) AS computed
FROM unnest(:crates) i LEFT JOIN crate c ON c.id = i;

-- check secret
SELECT current_user || ' secret:' || i AS key, cachegrid.fetch('secret:' || i) AS cached, to_jsonb(s) AS computed
FROM unnest(:secrets) i LEFT JOIN secret s ON s.id = i;

-- check secret_get
SELECT current_user || ' secret:' || i AS key, cached, CASE WHEN cached IS NOT NULL THEN to_jsonb(s) END AS computed
FROM (SELECT i, cachegrid.get('secret:' || i, NULL::jsonb) AS cached FROM unnest(:secrets) i OFFSET 0) got
LEFT JOIN secret s ON s.id = i;
