--
-- A hit is served only to who could have run the query at that moment:
-- whatever changes that between the fill and the read, by whatever command.
--
-- "attempt" says whether a value was a hit, was computed, or why it was denied.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA test_hits;
SET search_path = test_hits;
\pset format unaligned
\pset tuples_only on
CREATE ROLE hits_ann IN ROLE cachegrid_reader, cachegrid_writer;
CREATE ROLE hits_bob IN ROLE cachegrid_reader, cachegrid_writer;
CREATE ROLE hits_group;
GRANT USAGE ON SCHEMA test_hits TO PUBLIC;
CREATE FUNCTION hits() RETURNS numeric LANGUAGE sql VOLATILE SECURITY DEFINER AS 'SELECT sum(hits) FROM cachegrid.stat_cache';
CREATE FUNCTION attempt(query text DEFAULT 'SELECT string_agg(text, $$ $$ ORDER BY id) FROM test_hits.secret') RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was numeric := test_hits.hits();
    value text;
BEGIN
    value := cachegrid.fetch('secret', query)::text;
    RETURN CASE WHEN test_hits.hits() > was THEN 'hit ' ELSE 'computed ' END || coalesce(value, 'nothing');
EXCEPTION WHEN insufficient_privilege OR undefined_table OR undefined_function THEN
    RETURN sqlerrm;
END $$;
CREATE TABLE secret (id int PRIMARY KEY, owner name, text text);
INSERT INTO secret VALUES (1, 'hits_ann', 'ann''s'), (2, 'hits_bob', 'bob''s');
CREATE FUNCTION price(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 10 * $1';
CREATE VIEW shown AS SELECT * FROM secret;
ALTER VIEW shown OWNER TO hits_group;
GRANT SELECT ON secret TO hits_group;
GRANT SELECT ON shown TO hits_ann;
SELECT cachegrid.watch('secret');
GRANT SELECT ON secret TO hits_ann;

-- One role's value is none of another's, by whatever way a session becomes another.
SET ROLE hits_ann;
SELECT attempt(), attempt();
SET ROLE hits_bob;
SELECT attempt();
SET SESSION AUTHORIZATION hits_ann;
SELECT attempt();
SET SESSION AUTHORIZATION hits_bob;
SELECT attempt();
RESET SESSION AUTHORIZATION;
SELECT attempt(), attempt();
BEGIN;
SET LOCAL ROLE hits_ann;
SELECT attempt(), attempt();
COMMIT;
CREATE FUNCTION attempt_as_ann() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = test_hits AS 'SELECT test_hits.attempt()';
ALTER FUNCTION attempt_as_ann() OWNER TO hits_ann;
SET ROLE hits_bob;
SELECT attempt_as_ann(), attempt_as_ann(), attempt();
RESET ROLE;

-- Each of these between a hit and the next read.
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
REVOKE SELECT ON secret FROM hits_ann;
SET ROLE hits_ann;
SELECT attempt();
SELECT coalesce(cachegrid.get('secret'), 'nothing'), cachegrid."exists"('secret');
RESET ROLE;
GRANT SELECT (id, text) ON secret TO hits_ann;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
REVOKE SELECT (text) ON secret FROM hits_ann;
SET ROLE hits_ann;
SELECT attempt();
RESET ROLE;
GRANT SELECT ON secret TO PUBLIC;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
REVOKE SELECT ON ALL TABLES IN SCHEMA test_hits FROM PUBLIC;
SET ROLE hits_ann;
SELECT attempt();
RESET ROLE;
GRANT hits_group TO hits_ann;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
REVOKE hits_group FROM hits_ann;
SET ROLE hits_ann;
SELECT attempt();
RESET ROLE;
GRANT hits_group TO hits_ann;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
ALTER ROLE hits_ann NOINHERIT;
SET ROLE hits_ann;
SELECT attempt() LIKE 'hit%';
RESET ROLE;
ALTER ROLE hits_ann INHERIT;
REVOKE hits_group FROM hits_ann;
GRANT SELECT ON secret TO hits_ann;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
REVOKE USAGE ON SCHEMA test_hits FROM PUBLIC;
SET ROLE hits_ann;
SELECT cachegrid.fetch('secret', 'SELECT string_agg(text, $$ $$ ORDER BY id) FROM test_hits.secret');
RESET ROLE;
GRANT USAGE ON SCHEMA test_hits TO PUBLIC;
SET ROLE hits_ann;
SELECT attempt('SELECT test_hits.price(id) FROM test_hits.secret WHERE id = 1'), attempt('SELECT test_hits.price(id) FROM test_hits.secret WHERE id = 1');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION price FROM PUBLIC;
SET ROLE hits_ann;
SELECT attempt('SELECT test_hits.price(id) FROM test_hits.secret WHERE id = 1');
-- a view reads by the rights of its owner
SELECT attempt('SELECT count(*) FROM test_hits.shown'), attempt('SELECT count(*) FROM test_hits.shown');
RESET ROLE;
REVOKE SELECT ON secret FROM hits_group;
SET ROLE hits_ann;
SELECT attempt('SELECT count(*) FROM test_hits.shown');
RESET ROLE;
GRANT SELECT ON secret TO hits_group;
SET ROLE hits_ann;
SELECT attempt('SELECT count(*) FROM test_hits.shown'), attempt('SELECT count(*) FROM test_hits.shown');
RESET ROLE;
ALTER VIEW shown OWNER TO hits_bob;
SET ROLE hits_ann;
SELECT attempt('SELECT count(*) FROM test_hits.shown');
RESET ROLE;
SELECT attempt(), attempt();
ALTER TABLE secret OWNER TO hits_bob;
SELECT attempt();
ALTER TABLE secret OWNER TO CURRENT_USER;

-- Row-level security comes, changes, is forced, is evaded, goes.
GRANT SELECT ON secret TO hits_bob;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
CREATE POLICY own ON secret USING (owner = current_user);
SET ROLE hits_ann;
SELECT attempt(), attempt();
SET ROLE hits_bob;
SELECT attempt(), attempt();
SET row_security = off;
SELECT attempt();
SET row_security = on;
SELECT attempt();
RESET row_security;
RESET ROLE;
ALTER POLICY own ON secret TO hits_bob;
SET ROLE hits_ann;
SELECT attempt();
RESET ROLE;
ALTER POLICY own ON secret TO PUBLIC USING (id = 1);
SET ROLE hits_bob;
SELECT attempt(), attempt();
RESET ROLE;
CREATE POLICY never ON secret AS RESTRICTIVE USING (false);
SET ROLE hits_bob;
SELECT attempt(), attempt();
RESET ROLE;
DROP POLICY never ON secret;
SET ROLE hits_bob;
SELECT attempt(), attempt();
RESET ROLE;
ALTER ROLE hits_bob BYPASSRLS;
SET ROLE hits_bob;
SELECT attempt(), attempt();
RESET ROLE;
ALTER ROLE hits_bob NOBYPASSRLS;
ALTER TABLE secret OWNER TO hits_bob;
SET ROLE hits_bob;
SELECT attempt(), attempt();
RESET ROLE;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
SET ROLE hits_bob;
SELECT attempt(), attempt();
RESET ROLE;
ALTER TABLE secret NO FORCE ROW LEVEL SECURITY;
SET ROLE hits_bob;
SELECT attempt(), attempt();
RESET ROLE;
REASSIGN OWNED BY hits_bob TO CURRENT_USER;
SET ROLE hits_bob;
SELECT attempt();
RESET ROLE;
ALTER TABLE secret DISABLE ROW LEVEL SECURITY;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
-- in a transaction: one's own REVOKE at once, and none of it after a rollback
GRANT SELECT ON secret TO hits_ann;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
BEGIN;
REVOKE SELECT ON secret FROM hits_ann;
SET LOCAL ROLE hits_ann;
SELECT attempt();
ROLLBACK;
SET ROLE hits_ann;
SELECT attempt();
RESET ROLE;
REVOKE SELECT ON secret FROM hits_ann;
SET ROLE hits_ann;
SELECT attempt();
RESET ROLE;
-- a role that goes, and another by its name
GRANT SELECT ON secret TO hits_ann;
SET ROLE hits_ann;
SELECT attempt(), attempt();
RESET ROLE;
DROP OWNED BY hits_ann;
DROP ROLE hits_ann;
CREATE ROLE hits_ann IN ROLE cachegrid_reader, cachegrid_writer;
SET ROLE hits_ann;
SELECT attempt();
RESET ROLE;

DROP SCHEMA test_hits CASCADE;
DROP ROLE hits_ann, hits_bob, hits_group;
