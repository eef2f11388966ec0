-- What a transaction sets and deletes: seen by itself at once, by others at commit, by nobody after a rollback.

BEGIN;
SELECT cachegrid.set('o:1', 'mine');
SELECT cachegrid.get('o:1'), cachegrid.exists('o:1');
SELECT count(*) FROM cachegrid.entries('o:*');
COMMIT;
SELECT cachegrid.get('o:1'), (SELECT count(*) FROM cachegrid.entries('o:*'));

BEGIN;
SELECT cachegrid.set('o:1', 'lost');
SELECT cachegrid.set('o:2', 'lost');
SELECT cachegrid.delete('o:1');
SELECT cachegrid.get('o:1') IS NULL AS deleted, cachegrid.get('o:2');
ROLLBACK;
SELECT cachegrid.mget('{o:1,o:2}');

-- savepoints bring the outer value back
BEGIN;
SELECT cachegrid.set('o:3', 'outer');
SAVEPOINT one;
SELECT cachegrid.set('o:3', 'inner');
SAVEPOINT two;
SELECT cachegrid.delete('o:3');
SELECT cachegrid.get('o:3') IS NULL AS deleted;
ROLLBACK TO two;
SELECT cachegrid.get('o:3');
RELEASE one;
SELECT cachegrid.get('o:3');
SAVEPOINT three;
SELECT cachegrid.set('o:3', 'innermost');
ROLLBACK TO three;
COMMIT;
SELECT cachegrid.get('o:3');

BEGIN;
SAVEPOINT one;
SELECT cachegrid.set('o:3', 'kept by release');
SAVEPOINT two;
SELECT cachegrid.set('o:4', 'kept by release');
RELEASE two;
RELEASE one;
COMMIT;
SELECT cachegrid.mget('{o:3,o:4}');

-- exception blocks are savepoints
DO $$
BEGIN
    PERFORM cachegrid.set('o:5', 'before');
    BEGIN
        PERFORM cachegrid.set('o:5', 'in vain');
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'then: %', cachegrid.get('o:5');
    END;
END
$$;
SELECT cachegrid.get('o:5');

-- the order of set, delete and clear counts
BEGIN;
SELECT cachegrid.delete('o:5');
SELECT cachegrid.set('o:5', 'after delete');
COMMIT;
SELECT cachegrid.get('o:5');
BEGIN;
SELECT cachegrid.set('o:6', 'before clear');
SELECT cachegrid.clear('default') > 0 AS cleared;
SELECT cachegrid.get('o:5') IS NULL AS cleared_5, cachegrid.get('o:6') IS NULL AS cleared_6;
SELECT cachegrid.set('o:7', 'after clear');
SELECT cachegrid.get('o:7');
COMMIT;
SELECT cachegrid.mget('{o:5,o:6,o:7}');
BEGIN;
SELECT cachegrid.clear('default');
ROLLBACK;
SELECT cachegrid.get('o:7');

-- a set that is prepared leaves nothing but the old value's end
BEGIN;
SELECT cachegrid.set('o:7', 'prepared');
PREPARE TRANSACTION 'own_writes';
SELECT cachegrid.get('o:7') IS NULL AS gone;
COMMIT PREPARED 'own_writes';
SELECT cachegrid.get('o:7') IS NULL AS gone;

-- an error at the end of the transaction publishes nothing
CREATE TABLE deferred (id int PRIMARY KEY, parent int REFERENCES deferred DEFERRABLE INITIALLY DEFERRED);
BEGIN;
SELECT cachegrid.set('o:8', 'lost');
INSERT INTO deferred VALUES (1, 2);
COMMIT;
SELECT cachegrid.get('o:8') IS NULL AS lost;
DROP TABLE deferred;

-- immediate caches: Redis's own semantics
SELECT cachegrid.create_cache('now', transactional => false);
BEGIN;
SELECT cachegrid.set('now:1', 'at once');
ROLLBACK;
SELECT cachegrid.get('now:1');
BEGIN;
SELECT cachegrid.delete('now:1');
ROLLBACK;
SELECT cachegrid.get('now:1') IS NULL AS deleted;
SELECT cachegrid.drop_cache('now');

-- a key that is set again and again takes memory once, released savepoints too
BEGIN;
DO $$
BEGIN
    FOR i IN 1..20000 LOOP
        PERFORM cachegrid.set('o:again', repeat('x', 500));
        BEGIN
            PERFORM cachegrid.set('o:again', repeat('y', 500));
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
        BEGIN
            PERFORM cachegrid.set('o:again', 'rolled back');
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END
$$;
SELECT left(cachegrid.get('o:again'), 3), (SELECT max(total_bytes) < 100000 FROM pg_backend_memory_contexts
                                               WHERE name = 'cachegrid own writes') AS little;
ROLLBACK;

-- levels: what is released belongs to the outer one, and goes with it
BEGIN;
SELECT cachegrid.set('o:level', 'one');
SAVEPOINT a;
SELECT cachegrid.set('o:level', 'two');
SAVEPOINT b;
SELECT cachegrid.set('o:level', 'three'), cachegrid.set('o:other', 'three');
SAVEPOINT c;
SELECT cachegrid.set('o:level', 'four');
RELEASE c;
SELECT cachegrid.get('o:level'), cachegrid.get('o:other');
RELEASE b;
SELECT cachegrid.get('o:level'), cachegrid.get('o:other');
SAVEPOINT d;
SELECT cachegrid.delete('o:level', 'o:other');
ROLLBACK TO d;
SELECT cachegrid.get('o:level'), cachegrid.get('o:other');
ROLLBACK TO a;
SELECT cachegrid.get('o:level'), cachegrid.get('o:other');
COMMIT;
SELECT cachegrid.get('o:level'), cachegrid.get('o:other');
SELECT cachegrid.delete('o:level');

-- what is set after very many deletes stays, though these end all keys of the prefix
SELECT cachegrid.set('bulk:old', 'x');
BEGIN;
SELECT count(cachegrid.delete('bulk:' || i)) FROM generate_series(1, 9000) AS i;
SELECT cachegrid.set('bulk:new', 'x');
COMMIT;
SELECT cachegrid.get('bulk:old') IS NULL AS ended, cachegrid.get('bulk:new');
