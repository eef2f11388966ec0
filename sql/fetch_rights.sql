-- fetch(): a hit is never a way around privileges or row-level security.
CREATE SCHEMA test_rights;
SET search_path = test_rights;
CREATE ROLE fetch_alice IN ROLE cachegrid_writer;
CREATE ROLE fetch_bob IN ROLE cachegrid_writer;
CREATE ROLE fetch_eve;
CREATE TABLE secret (id int PRIMARY KEY, owner name, text text);
INSERT INTO secret VALUES (1, 'fetch_alice', 'of alice'), (2, 'fetch_bob', 'of bob');
GRANT USAGE ON SCHEMA test_rights TO PUBLIC;
SELECT cachegrid.watch('secret', keys => '{"secret:{id}"}');
GRANT SELECT ON secret TO fetch_alice, fetch_bob;
CREATE FUNCTION loads() RETURNS numeric LANGUAGE sql SECURITY DEFINER AS 'SELECT sum(loads) FROM cachegrid.stat_cache';
SELECT loads() AS before \gset

-- Another role computes, and is checked, for itself.
SET ROLE fetch_alice;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
SELECT loads() - :before AS loads;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
SELECT loads() - :before AS loads;
SET ROLE fetch_bob;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
SELECT loads() - :before AS loads;
RESET ROLE;
REVOKE SELECT ON secret FROM fetch_bob;
SET ROLE fetch_bob;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
SELECT cachegrid.get('secret:1');
SELECT value, must_load FROM cachegrid.lookup('secret:1');
RESET ROLE;
GRANT SELECT ON secret TO fetch_bob;

-- Rights that come and go with a group.
CREATE ROLE fetch_group;
REVOKE SELECT ON secret FROM fetch_bob;
GRANT SELECT ON secret TO fetch_group;
GRANT fetch_group TO fetch_bob;
SET ROLE fetch_bob;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
RESET ROLE;
REVOKE fetch_group FROM fetch_bob;
SET ROLE fetch_bob;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
RESET ROLE;
GRANT SELECT ON secret TO fetch_bob;

-- What a query may look into is decided when it is prepared: a session that
-- changes its role prepares it anew.
CREATE SCHEMA test_inside;
CREATE TABLE test_inside.shelf (n int);
INSERT INTO test_inside.shelf VALUES (1);
SELECT cachegrid.watch('test_inside.shelf');
CREATE FUNCTION next(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
REVOKE EXECUTE ON FUNCTION next FROM PUBLIC;
GRANT EXECUTE ON FUNCTION next TO fetch_alice;
GRANT SELECT ON test_inside.shelf TO fetch_alice, fetch_bob;
GRANT USAGE ON SCHEMA test_inside TO fetch_alice;
SET ROLE fetch_alice;
SELECT cachegrid.fetch('prepared:1', 'SELECT next(1)'), cachegrid.fetch('prepared:2', 'SELECT n FROM test_inside.shelf');
SET ROLE fetch_bob;
SELECT cachegrid.fetch('prepared:1', 'SELECT next(1)');
SELECT cachegrid.fetch('prepared:2', 'SELECT n FROM test_inside.shelf');
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA test_inside CASCADE;
RESET client_min_messages;

-- Row-level security by role.
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = current_user);
SET ROLE fetch_alice;
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret');
SET ROLE fetch_bob;
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret');
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
SET row_security = off;
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret');
RESET row_security;
RESET ROLE;
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret');
-- A policy altered ends what was computed under the old one.
SET ROLE fetch_bob;
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret');
RESET ROLE;
ALTER POLICY own ON secret USING (owner = 'fetch_alice');
SET ROLE fetch_bob;
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret');
RESET ROLE;

-- Row-level security by a setting of the session: refused, even for a ttl.
ALTER POLICY own ON secret USING (owner = current_setting('app.name'));
SET ROLE fetch_alice;
SET app.name = 'fetch_alice';
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret', ttl => '1 hour');
RESET ROLE;
CREATE FUNCTION app_user() RETURNS text LANGUAGE sql STABLE AS $$SELECT current_setting('app.name')$$;
ALTER POLICY own ON secret USING (owner = app_user());
SET ROLE fetch_alice;
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret', ttl => '1 hour');
SELECT cachegrid.fetch('secrets', 'SELECT jsonb_agg(text) FROM secret', tags => '{t}');
RESET ROLE;

-- A policy that reads another table depends on it.
CREATE TABLE member (name name);
GRANT SELECT ON member TO PUBLIC;
ALTER POLICY own ON secret USING (EXISTS (SELECT FROM member m WHERE m.name = current_user));
SET ROLE fetch_alice;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
RESET ROLE;
SELECT cachegrid.watch('member');
SET ROLE fetch_alice;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
RESET ROLE;
INSERT INTO member VALUES ('fetch_alice');
SET ROLE fetch_alice;
SELECT cachegrid.fetch('secret:1', 'SELECT text FROM secret WHERE id = 1');
RESET ROLE;

-- A function with its owner's rights computes as its owner, for its callers.
CREATE FUNCTION shown(int) RETURNS jsonb LANGUAGE sql SECURITY DEFINER
AS $$SELECT cachegrid.fetch('shown', 'SELECT text FROM secret WHERE id = $1', ARRAY[$1::text])$$;
SET ROLE fetch_bob;
SELECT shown(1);
SELECT cachegrid.fetch('shown', 'SELECT text FROM secret WHERE id = $1', '{1}');
RESET ROLE;

-- Without the roles nothing can be called.
SET ROLE fetch_eve;
SELECT cachegrid.fetch('secret:1');
RESET ROLE;
GRANT cachegrid_reader TO fetch_eve;
SET ROLE fetch_eve;
SELECT cachegrid.fetch('secret:1', 'SELECT 1');
SELECT cachegrid.fill('secret:1', 'x', 'y');
SELECT cachegrid.invalidate('secret:1');
SELECT cachegrid.invalidate_tags('secret');
SELECT must_load FROM cachegrid.lookup('secret:1');
SELECT cachegrid.fetch('secret:1');
RESET ROLE;

-- A loader runs with the rights of who calls.
SELECT cachegrid.create_cache('loaded', loader => 'SELECT text FROM secret WHERE id = $1');
SET ROLE fetch_eve;
SELECT cachegrid.fetch('loaded:1');
RESET ROLE;
SELECT cachegrid.fetch('loaded:1');
SET ROLE fetch_eve;
SELECT cachegrid.fetch('loaded:1');
SELECT cachegrid.get('loaded:1');
RESET ROLE;

-- What somebody put does not run functions of his with the reader's rights.
GRANT CREATE ON SCHEMA test_rights TO fetch_alice;
SET ROLE fetch_alice;
CREATE TYPE trap AS ENUM ('shut');
CREATE TYPE cage AS (trap trap);
CREATE FUNCTION spring(trap) RETURNS json LANGUAGE plpgsql AS
    $$ BEGIN RETURN to_json('run as ' || current_user); END $$;
CREATE CAST (trap AS json) WITH FUNCTION spring(trap);
CREATE TYPE net AS (mesh int);
CREATE FUNCTION spring(net) RETURNS json LANGUAGE sql AS 'SELECT to_json(current_user)';
CREATE CAST (net AS json) WITH FUNCTION spring(net);
SELECT cachegrid.set('bait:5', ROW(1)::net);
SELECT cachegrid.set('bait:1', 'shut'::trap), cachegrid.set('bait:2', ARRAY['shut'::trap]), cachegrid.set('bait:3', ROW('shut')::cage);
SET ROLE fetch_bob;
SELECT cachegrid.fetch('bait:1', 'SELECT 1'), cachegrid.fetch('bait:2', 'SELECT 1'), cachegrid.fetch('bait:3', 'SELECT 1'), cachegrid.fetch('bait:5', 'SELECT 1');
-- Nor is what such a function says kept for good.
SELECT cachegrid.fetch('bait:4', $$SELECT 'shut'::trap$$);
RESET ROLE;

-- A role by another name, and one that is a member of others from its birth.
ALTER POLICY own ON secret USING (owner = current_user);
CREATE POLICY grouped ON secret TO fetch_group USING (true);
SET ROLE fetch_alice;
SELECT cachegrid.fetch('roles:1', 'SELECT current_user'), cachegrid.fetch('roles:2', 'SELECT string_agg(text, $$, $$ ORDER BY id) FROM secret');
RESET ROLE;
ALTER ROLE fetch_alice RENAME TO fetch_carol;
SET ROLE fetch_carol;
SELECT cachegrid.fetch('roles:1', 'SELECT current_user'), cachegrid.fetch('roles:2', 'SELECT string_agg(text, $$, $$ ORDER BY id) FROM secret');
RESET ROLE;
ALTER ROLE fetch_carol RENAME TO fetch_alice;
SET ROLE fetch_alice;
SELECT cachegrid.fetch('roles:2', 'SELECT string_agg(text, $$, $$ ORDER BY id) FROM secret');
RESET ROLE;
CREATE ROLE fetch_middle IN ROLE fetch_group ROLE fetch_alice;
SET ROLE fetch_alice;
SELECT cachegrid.fetch('roles:2', 'SELECT string_agg(text, $$, $$ ORDER BY id) FROM secret');
RESET ROLE;
DROP ROLE fetch_middle;

SET client_min_messages = warning;
DROP SCHEMA test_rights CASCADE;
SELECT cachegrid.drop_cache('loaded');
DROP ROLE fetch_alice, fetch_bob, fetch_eve, fetch_group;
