-- invalidate() and invalidate_tags(): as of the commit, and seen by oneself at once.
CREATE FUNCTION found(VARIADIC keys text[]) RETURNS boolean[]
LANGUAGE sql AS 'SELECT array_agg(cachegrid.exists(k) ORDER BY n) FROM unnest(keys) WITH ORDINALITY AS u (k, n)';
SELECT cachegrid.set('a:1', 'x'), cachegrid.set('a:2', 'x', tags => '{red}'), cachegrid.set('b:1', 'x', tags => '{red,blue}');
SELECT found('a:1', 'a:2', 'b:1');
SELECT cachegrid.invalidate('a:1');
SELECT found('a:1', 'a:2', 'b:1');
SELECT cachegrid.invalidate_tags('blue');
SELECT found('a:1', 'a:2', 'b:1');
SELECT cachegrid.invalidate('no such key', 'a:2');
SELECT found('a:1', 'a:2', 'b:1');

-- Rolled back: nothing happened; meanwhile oneself sees it.
SELECT cachegrid.set('a:1', 'x', tags => '{red}');
BEGIN;
SELECT cachegrid.invalidate('a:1');
SELECT found('a:1');
ROLLBACK;
SELECT found('a:1');
BEGIN;
SAVEPOINT s;
SELECT cachegrid.invalidate_tags('red');
SELECT found('a:1');
ROLLBACK TO s;
SELECT found('a:1');
COMMIT;
SELECT found('a:1');
BEGIN;
SAVEPOINT s;
SELECT cachegrid.invalidate_tags('red');
RELEASE s;
COMMIT;
SELECT found('a:1');

-- What was computed from an invalidated value ends with it.
SELECT cachegrid.fetch('outer', $$SELECT cachegrid.fetch('inner', 'SELECT 1', tags => '{deep}')$$);
SELECT found('outer', 'inner');
SELECT cachegrid.invalidate('inner');
SELECT found('outer', 'inner');
SELECT cachegrid.fetch('outer', $$SELECT cachegrid.fetch('inner', 'SELECT 1', tags => '{deep}')$$);
SELECT cachegrid.fetch('outer', $$SELECT cachegrid.fetch('inner', 'SELECT 1', tags => '{deep}')$$);
SELECT cachegrid.invalidate_tags('deep');
SELECT found('outer', 'inner');

-- A plain value set after its tag was invalidated, in one transaction, lives.
BEGIN;
SELECT cachegrid.invalidate_tags('red');
SELECT cachegrid.set('a:3', 'x', tags => '{red}');
COMMIT;
SELECT found('a:3');
BEGIN;
SELECT cachegrid.set('a:3', 'x', tags => '{red}');
SELECT cachegrid.invalidate_tags('red');
COMMIT;
SELECT found('a:3');

-- Of very many their prefixes go instead, and only if the savepoint stays.
SELECT cachegrid.set('many:0', 'x'), cachegrid.set('x', 'x', tags => '{tag:0}'), cachegrid.set('few:0', 'x', tags => '{few:0}');
BEGIN;
SAVEPOINT s;
SELECT count(cachegrid.invalidate('many:' || i)), count(cachegrid.invalidate_tags('tag:' || i)) FROM generate_series(1, 9000) AS i;
SELECT found('many:0', 'x', 'few:0');
ROLLBACK TO s;
SELECT found('many:0', 'x', 'few:0');
SELECT count(cachegrid.invalidate('many:' || i)) FROM generate_series(1, 100) AS i;
SAVEPOINT s;
SELECT count(cachegrid.invalidate('many:' || i)), count(cachegrid.invalidate_tags('tag:' || i)) FROM generate_series(1, 9000) AS i;
RELEASE s;
COMMIT;
SELECT found('many:0', 'x', 'few:0');

-- What follows from more than an entry can remember is not kept.
SELECT cachegrid.fetch('wide', $$SELECT count(cachegrid.fetch('in:' || i, 'SELECT 1', tags => (SELECT array_agg(i || '.' || j) FROM generate_series(1, 100) AS j)))
  FROM generate_series(1, 649) AS i$$);
SELECT found('wide', 'in:1', 'in:649');
SELECT cachegrid.invalidate('in:1');
SELECT found('wide', 'in:1', 'in:649');

-- Nothing, NULL, bad names.
SELECT cachegrid.invalidate(VARIADIC '{}');
SELECT cachegrid.invalidate(VARIADIC NULL);
SELECT cachegrid.invalidate('a', NULL);
SELECT cachegrid.invalidate('');
SELECT cachegrid.invalidate_tags(VARIADIC '{}');
SELECT cachegrid.invalidate_tags(NULL::text);
SELECT cachegrid.invalidate_tags(repeat('t', 513));
DROP FUNCTION found;
