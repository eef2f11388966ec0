-- Every wrong call of mirror() and its kin gets one clear error and leaves
-- nothing behind.  Nothing here needs a Redis server.
SET client_min_messages = warning;

CREATE TABLE item (id int PRIMARY KEY, name text, at timestamptz, code text UNIQUE,
                   day date NOT NULL, kind text NOT NULL, UNIQUE (day, kind));
CREATE TABLE loose (id int, name text);
CREATE TABLE words (a text, b text, PRIMARY KEY (a, b));
CREATE VIEW seen AS SELECT * FROM item;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM item;
CREATE TEMP TABLE brief (id int PRIMARY KEY);
CREATE UNLOGGED TABLE light (id int PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE grandchild PARTITION OF child FOR VALUES FROM (0) TO (5);
CREATE TABLE keyless (id int, n int) PARTITION BY RANGE (id);
CREATE SEQUENCE counter;
CREATE TABLE "cachegrid" (id int PRIMARY KEY);

-- servers and user mappings
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis;
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'localhost:0');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'localhost', mode 'grid');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'localhost', host 'x');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints 'localhost', password 'secret');
CREATE SERVER bad FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (mode 'single', endpoints 'a,b');
-- port 1: nobody listens there
CREATE SERVER grid FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '127.0.0.1:1');
CREATE USER MAPPING FOR PUBLIC SERVER grid OPTIONS (user 'x');
CREATE USER MAPPING FOR PUBLIC SERVER grid OPTIONS (password '');
CREATE USER MAPPING FOR PUBLIC SERVER grid OPTIONS (username 'x', password 'secret');
CREATE FOREIGN TABLE far (id int) SERVER grid;
ALTER FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (ADD endpoints 'x');
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER other;
CREATE FOREIGN TABLE remote (id int) SERVER elsewhere;
CREATE FOREIGN TABLE abroad PARTITION OF keyless FOR VALUES FROM (0) TO (10) SERVER elsewhere;

-- NULLs
SELECT cachegrid.mirror(NULL, 'grid');
SELECT cachegrid.mirror('item', NULL);
SELECT cachegrid.mirror('item', 'grid', mode => NULL);
SELECT cachegrid.mirror('item', 'grid', format => NULL);
SELECT cachegrid.mirror('item', 'grid', columns => '{id,NULL}');
SELECT cachegrid.mirror('item', 'grid', columns => '{}');

-- what cannot be mirrored
SELECT cachegrid.mirror(0, 'grid');
SELECT cachegrid.mirror('seen', 'grid');
SELECT cachegrid.mirror('kept', 'grid');
SELECT cachegrid.mirror('brief', 'grid');
SELECT cachegrid.mirror('light', 'grid');
SELECT cachegrid.mirror('child', 'grid');
SELECT cachegrid.mirror('grandchild', 'grid');
SELECT cachegrid.mirror('parent', 'grid', 'parent:{n}');
ALTER TABLE grandchild SET UNLOGGED;
SELECT cachegrid.mirror('parent', 'grid');
ALTER TABLE grandchild SET LOGGED;
CREATE TABLE side (a int NOT NULL, b int NOT NULL) PARTITION BY LIST (a);
CREATE TABLE side_1 PARTITION OF side FOR VALUES IN (1);
CREATE UNIQUE INDEX ON ONLY side (a, b);
SELECT cachegrid.mirror('side', 'grid', 'side:{a}:{b}');
SELECT cachegrid.mirror('counter', 'grid');
SELECT cachegrid.mirror('remote', 'grid');
SELECT cachegrid.mirror('pg_class', 'grid');
SELECT cachegrid.mirror('cachegrid.mirrors', 'grid');
SELECT cachegrid.mirror('loose', 'grid');
SELECT cachegrid.mirror('words', 'grid');
SELECT cachegrid.mirror('cachegrid', 'grid');

SELECT cachegrid.mirror('keyless', 'grid', 'keyless:{id}', mode => 'invalidate');

-- servers that are not there, or not ours
SELECT cachegrid.mirror('item', 'nowhere');
SELECT cachegrid.mirror('item', 'elsewhere');
SELECT cachegrid.mirror('item', 'grid');
SELECT cachegrid.mirror('parent', 'grid');

-- modes, formats, ttl, columns
SELECT cachegrid.mirror('item', 'grid', on_unavailable => 'never');
SELECT cachegrid.mirror('item', 'grid', mode => 'backwards');
SELECT cachegrid.mirror('item', 'grid', format => 'xml');
SELECT cachegrid.mirror('item', 'grid', ttl => '0');
SELECT cachegrid.mirror('item', 'grid', ttl => '-1 second');
SELECT cachegrid.mirror('item', 'grid', ttl => '1 microsecond');
SELECT cachegrid.mirror('item', 'grid', ttl => '170000000 years');
SELECT cachegrid.mirror('item', 'grid', columns => '{id,nothing}');
SELECT cachegrid.mirror('item', 'grid', columns => '{id,name,id}');
SELECT cachegrid.mirror('item', 'grid', columns => '{ctid}');

-- key templates
SELECT cachegrid.mirror('item', 'grid', '');
SELECT cachegrid.mirror('item', 'grid', 'item');
SELECT cachegrid.mirror('item', 'grid', 'item:all');
SELECT cachegrid.mirror('item', 'grid', '{id}');
SELECT cachegrid.mirror('item', 'grid', 'item:{id');
SELECT cachegrid.mirror('item', 'grid', 'item:{nothing}');
SELECT cachegrid.mirror('item', 'grid', 'item:{at}');
SELECT cachegrid.mirror('item', 'grid', 'item:{name}');
SELECT cachegrid.mirror('item', 'grid', 'item:{code}');
SELECT cachegrid.mirror('item', 'grid', 'item:{day}');
SELECT cachegrid.mirror('words', 'grid', 'w:{a}:{b}');
SELECT cachegrid.mirror('item', 'grid', 'cachegrid:{id}');

-- mirrors that are not there
SELECT cachegrid.unmirror('item', 'grid');
SELECT cachegrid.resync('item', 'grid');
SELECT * FROM cachegrid.verify('item', 'grid');
SELECT cachegrid.unmirror(NULL, 'grid');
SELECT cachegrid.resync('item', NULL);
SELECT * FROM cachegrid.verify(NULL, NULL);

-- who may
CREATE ROLE regress_mirror_writer IN ROLE cachegrid_writer;
CREATE ROLE regress_mirror_nobody;
SET ROLE regress_mirror_nobody;
SELECT cachegrid.mirror('item', 'grid');
SET ROLE regress_mirror_writer;
SELECT cachegrid.mirror('item', 'grid');
RESET ROLE;
GRANT CREATE ON SCHEMA public TO regress_mirror_writer;
SET ROLE regress_mirror_writer;
CREATE TABLE own (id int PRIMARY KEY);
SELECT cachegrid.mirror('own', 'grid');
SELECT * FROM cachegrid.mirrors;
SELECT * FROM cachegrid.stat_mirror;
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER grid TO regress_mirror_writer;
SET ROLE regress_mirror_writer;
SELECT cachegrid.mirror('own', 'grid');
RESET ROLE;

-- nothing is left of all that
SELECT count(*) FROM cachegrid.mirrors;
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('item'::regclass, 'own'::regclass);
SELECT count(*) FROM cachegrid.outbox_0;

DROP OWNED BY regress_mirror_writer;
DROP ROLE regress_mirror_writer, regress_mirror_nobody;
DROP VIEW seen;
DROP MATERIALIZED VIEW kept;
DROP FOREIGN DATA WRAPPER other CASCADE;
DROP SERVER grid CASCADE;
DROP TABLE item, loose, words, light, parent, keyless, side, "cachegrid";
DROP SEQUENCE counter;
