-- Every wrong call of watch() that is to tell of changes gets one clear error and
-- leaves nothing behind.  Nothing here needs a Redis server.
SET client_min_messages = warning;

CREATE TABLE item (id int PRIMARY KEY, name text);
-- port 1: nobody listens there
CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '127.0.0.1:1');
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER other;

-- NULLs
SELECT cachegrid.watch('item', publish => NULL);
SELECT cachegrid.watch('item', sharded => NULL);
SELECT cachegrid.watch('item', notify => NULL);

-- what is said of publishing, without it
SELECT cachegrid.watch('item', server => 'grid');
SELECT cachegrid.watch('item', channel => 'items');
SELECT cachegrid.watch('item', sharded => true);

-- where to
SELECT cachegrid.watch('item', publish => true);
SELECT cachegrid.watch('item', publish => true, server => 'nowhere');
SELECT cachegrid.watch('item', publish => true, server => 'elsewhere');
SELECT cachegrid.watch('item', publish => true, server => 'grid', channel => '');
SELECT cachegrid.watch('item', publish => true, server => 'grid', channel => repeat('c', 513));
SELECT cachegrid.watch('item', publish => true, server => 'grid');

-- what
SELECT cachegrid.watch(0, publish => true, server => 'grid');
SELECT cachegrid.watch(NULL, publish => true, server => 'grid');

-- who
CREATE ROLE event_writer IN ROLE cachegrid_writer;
SET ROLE event_writer;
SELECT cachegrid.watch('item', publish => true, server => 'grid');
CREATE TABLE pg_temp.own (id int PRIMARY KEY);
SELECT cachegrid.watch('own', publish => true, server => 'grid');
DROP TABLE own;
RESET ROLE;
GRANT CREATE ON SCHEMA public TO event_writer;
SET ROLE event_writer;
CREATE TABLE by_hand (id int PRIMARY KEY);
CREATE TRIGGER "!cachegrid_row" AFTER INSERT OR UPDATE OR DELETE ON by_hand FOR EACH ROW EXECUTE FUNCTION cachegrid.capture('watch', 'key=item:{1=id}', 'publish=1');
DROP TABLE by_hand;
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM event_writer;

SELECT count(*) FROM cachegrid.watched WHERE "table" = 'item'::regclass;
SELECT count(*) FROM cachegrid.event_streams;

-- a transaction that has notified cannot be prepared; it is told so for the table
SELECT cachegrid.watch('item', ARRAY['item:{id}'], notify => true);
BEGIN;
INSERT INTO item VALUES (1);
PREPARE TRANSACTION 'notified';
SELECT count(*) FROM item;
BEGIN;
SAVEPOINT a;
INSERT INTO item VALUES (1);
SAVEPOINT b;
INSERT INTO item VALUES (2);
RELEASE b;
ROLLBACK TO a;
PREPARE TRANSACTION 'not notified';
ROLLBACK PREPARED 'not notified';
BEGIN;
SAVEPOINT a;
INSERT INTO item VALUES (1);
SAVEPOINT b;
INSERT INTO item VALUES (2);
ROLLBACK TO b;
RELEASE a;
PREPARE TRANSACTION 'notified';
SELECT cachegrid.watch('item');
BEGIN;
INSERT INTO item VALUES (1);
PREPARE TRANSACTION 'not notified';
COMMIT PREPARED 'not notified';
SELECT tgargs FROM pg_trigger WHERE tgrelid = 'item'::regclass AND tgname = '!cachegrid_row';

DROP TABLE item;
DROP SERVER grid;
DROP FOREIGN DATA WRAPPER other CASCADE;
DROP ROLE event_writer;
