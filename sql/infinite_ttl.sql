-- An infinite interval, which there is since PostgreSQL 17, is no time to live:
-- NULL is.  Before, there is no way to write one.
\set VERBOSITY terse
SELECT cachegrid.set('k', 'x', ttl => 'infinity');
SELECT cachegrid.set('k', 'x', ttl => '-infinity');
SELECT cachegrid.expire('k', 'infinity');
SELECT cachegrid.fetch('k', 'SELECT 1', ttl => 'infinity');
SELECT cachegrid.create_cache('infinite', 'infinity');
SELECT cachegrid.create_cache('infinite', '-infinity');
CREATE TABLE infinite (id int PRIMARY KEY);
CREATE SERVER infinite FOREIGN DATA WRAPPER cachegrid_redis OPTIONS (endpoints '127.0.0.1:1');
SELECT cachegrid.mirror('infinite', 'infinite', ttl => 'infinity');
SELECT cachegrid.mirror('infinite', 'infinite', ttl => '-infinity');
DROP SERVER infinite;
DROP TABLE infinite;
SELECT cachegrid.exists('k') AS set, (SELECT count(*) FROM cachegrid.cache) AS caches, (SELECT count(*) FROM cachegrid.mirrors) AS mirrors;
