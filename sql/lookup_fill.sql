-- lookup() and fill(): values computed outside, kept only if nothing moved meanwhile.
SELECT value, token IS NOT NULL AS has_token, must_load FROM cachegrid.lookup('page:home');
SELECT token FROM cachegrid.lookup('page:home') \gset
SELECT cachegrid.fill('page:home', '<html>', :'token');
SELECT * FROM cachegrid.lookup('page:home');
SELECT cachegrid.get('page:home');

-- A token is good for one value: the entry is another now.
SELECT cachegrid.fill('page:home', 'again', :'token');
SELECT value FROM cachegrid.lookup('page:home');

-- Types, and a known NULL.
SELECT token FROM cachegrid.lookup('page:jsonb') \gset
SELECT cachegrid.fill('page:jsonb', '{"a": [1, null]}'::jsonb, :'token');
SELECT * FROM cachegrid.lookup('page:jsonb');
SELECT cachegrid.get('page:jsonb', NULL::jsonb) -> 'a';
SELECT token FROM cachegrid.lookup('page:array') \gset
SELECT cachegrid.fill('page:array', ARRAY[1.50, NULL], :'token');
SELECT value FROM cachegrid.lookup('page:array');
SELECT token FROM cachegrid.lookup('page:null') \gset
SELECT cachegrid.fill('page:null', NULL, :'token');
SELECT value, token, must_load FROM cachegrid.lookup('page:null');
SELECT token FROM cachegrid.lookup('page:ttl') \gset
SELECT cachegrid.fill('page:ttl', 'x', :'token', ttl => '1 hour');
SELECT cachegrid.ttl('page:ttl') BETWEEN '59 minutes' AND '1 hour' AS ttl;

-- Invalidated between lookup and fill: not kept.
SELECT token FROM cachegrid.lookup('page:1') \gset
SELECT cachegrid.invalidate('page:1');
SELECT cachegrid.fill('page:1', 'old', :'token');
SELECT value, must_load FROM cachegrid.lookup('page:1');
-- The same by a plain set, which must not be overwritten.
SELECT token FROM cachegrid.lookup('page:2') \gset
SELECT cachegrid.set('page:2', 'set');
SELECT cachegrid.fill('page:2', 'old', :'token');
SELECT value, must_load FROM cachegrid.lookup('page:2');
-- The same by clear().
SELECT token FROM cachegrid.lookup('page:3') \gset
SELECT cachegrid.clear() > 0;
SELECT cachegrid.fill('page:3', 'old', :'token');
SELECT must_load FROM cachegrid.lookup('page:3');

-- Tags: those that fill names must be in the token, and unmoved.
SELECT token FROM cachegrid.lookup('page:4') \gset
SELECT cachegrid.fill('page:4', 'x', :'token', tags => '{products}');
SELECT token FROM cachegrid.lookup('page:4', '{products,users}') \gset
SELECT cachegrid.fill('page:4', 'x', :'token', tags => '{products,orders}');
SELECT cachegrid.fill('page:4', 'x', :'token', tags => '{products}');
SELECT value FROM cachegrid.lookup('page:4', '{products,users}');
SELECT cachegrid.invalidate_tags('products');
SELECT must_load FROM cachegrid.lookup('page:4');
SELECT token FROM cachegrid.lookup('page:5', '{products}') \gset
SELECT cachegrid.invalidate_tags('products');
SELECT cachegrid.fill('page:5', 'old', :'token', tags => '{products}');
SELECT must_load FROM cachegrid.lookup('page:5');

-- Tokens of another key, made up, or none.
SELECT token FROM cachegrid.lookup('page:6') \gset
SELECT cachegrid.fill('page:7', 'x', :'token');
SELECT cachegrid.fill('page:6', 'x', NULL);
SELECT cachegrid.fill('page:6', 'x', '');
SELECT cachegrid.fill('page:6', 'x', 'no token');
SELECT cachegrid.fill('page:6', 'x', upper(:'token'));
SELECT cachegrid.fill('page:6', 'x', :'token' || '00');
SELECT cachegrid.fill('page:6', 'x', left(:'token', -16));
SELECT cachegrid.fill('page:6', 'x', repeat('0', 80));
SELECT cachegrid.fill('page:6', 'x', repeat('0', 100000));
SELECT must_load FROM cachegrid.lookup('page:6');

-- A transaction that has written gets no token, and fills nothing.
CREATE TABLE t (n int);
BEGIN;
INSERT INTO t VALUES (1);
SELECT token IS NULL AS none, must_load FROM cachegrid.lookup('page:8');
SELECT cachegrid.fill('page:6', 'x', :'token');
ROLLBACK;
BEGIN;
SELECT cachegrid.invalidate('page:8');
SELECT token IS NULL AS none, must_load FROM cachegrid.lookup('page:8');
COMMIT;

-- A delete that takes effect at once is noticed, too.
SELECT cachegrid.create_cache('at once', transactional => false);
SELECT token FROM cachegrid.lookup('at once:1') \gset
SELECT cachegrid.delete('at once:1');
SELECT cachegrid.fill('at once:1', 'old', :'token');
SELECT cachegrid.drop_cache('at once');

-- Of one role's values another sees none.
CREATE ROLE lookup_other IN ROLE cachegrid_writer;
SELECT token FROM cachegrid.lookup('page:9') \gset
SELECT cachegrid.fill('page:9', 'mine', :'token');
SET ROLE lookup_other;
SELECT value, must_load FROM cachegrid.lookup('page:9');
SELECT cachegrid.get('page:9'), cachegrid.expire('page:9', '1 hour');
RESET ROLE;
SELECT cachegrid.expires_at('page:9');
SELECT value, must_load FROM cachegrid.lookup('page:9');
-- Nor may another role learn it by adding to it.
SELECT cachegrid.fill('count:1', 42, token) FROM cachegrid.lookup('count:1');
SET ROLE lookup_other;
SELECT cachegrid.incr('count:1', 0);
RESET ROLE;
-- To add, to replace and to delete it is as absent as to get.
SELECT cachegrid.create_cache('at once', transactional => false);
SELECT key, cachegrid.fill(key, 'mine', token) FROM unnest('{page:11,page:12,page:13,at once:2}'::text[]) AS key, cachegrid.lookup(key);
SELECT version FROM cachegrid.gets('page:13') \gset
SET ROLE lookup_other;
SELECT cachegrid.replace('page:11', 'other'), cachegrid.add('page:12', 'other'), cachegrid.cas('page:13', 'other', :version), cachegrid.delete('at once:2');
RESET ROLE;
SELECT cachegrid.mget('{page:11,page:12,page:13,at once:2}');
SELECT cachegrid.replace('page:11', 'again'), cachegrid.add('page:13', 'again'), cachegrid.cas('page:13', 'again', :version);
SELECT cachegrid.drop_cache('at once');
DROP ROLE lookup_other;

-- A token that was cut short: its value would outlive the cache.
SELECT token FROM cachegrid.lookup('page:10') \gset
SELECT cachegrid.fill('page:10', 'x', left(:'token', 64) || repeat('0', 16));

-- A token that names a dependency of no kind.
SELECT cachegrid.fill('page:10', 'x', left(:'token', 64) || '0300000000000000' || substr(:'token', 81) || repeat('0', 32));

-- Bad arguments.
SELECT cachegrid.lookup(NULL);
SELECT cachegrid.lookup('');
SELECT cachegrid.lookup('k', '{NULL}');
SELECT cachegrid.lookup('k', '{""}');
SELECT cachegrid.fill(NULL, 'x', 'y');
SELECT cachegrid.fill('k', 'x', :'token', ttl => '0');
SELECT cachegrid.fill('k', 'x', :'token', tags => '{NULL}');
DROP TABLE t;

-- A lease: its token has a grant, which changes nothing of what is kept, nor does one that is none.
SELECT token AS plain FROM cachegrid.lookup('page:14') \gset
SELECT token, must_load, value, split_part(token, '.', 1) = :'plain' AS same_fill FROM cachegrid.lookup('page:14', lease => '1 minute') \gset
SELECT :'must_load' AS must_load, :'same_fill' AS same_fill, length(split_part(:'token', '.', 2)) AS digits;
SELECT cachegrid.give_up('page:14', :'plain'), cachegrid.give_up('page:14', NULL), cachegrid.give_up('page:15', :'token'), cachegrid.give_up('page:14', :'plain' || '.0'),
       cachegrid.give_up('page:14', :'plain' || '.00000000000000ff'), cachegrid.give_up('page:14', ''), cachegrid.give_up('page:14', '.');
SELECT cachegrid.give_up('page:14', :'token'), cachegrid.give_up('page:14', :'token');
SELECT cachegrid.fill('page:14', 'x', :'token'), cachegrid.give_up('page:14', :'token');
SELECT value, token, must_load FROM cachegrid.lookup('page:14', lease => '1 minute');
SELECT token FROM cachegrid.lookup('page:15', lease => '1 minute') \gset
SELECT cachegrid.fill('page:15', 'x', :'token' || '0'), cachegrid.fill('page:15', 'x', '.' || split_part(:'token', '.', 2));
SELECT cachegrid.fill('page:15', 'x', :'token'), cachegrid.give_up('page:15', :'token');
SELECT cachegrid.lookup('page:16', lease => '0');
SELECT cachegrid.lookup('page:14', lease => '-1 s');
SELECT cachegrid.give_up(NULL, 'x');
