-- Nothing for PUBLIC; readers read, writers write, admins say how.
CREATE ROLE regress_nobody;
CREATE ROLE regress_reader IN ROLE cachegrid_reader;
CREATE ROLE regress_writer IN ROLE cachegrid_writer;
CREATE ROLE regress_admin IN ROLE cachegrid_admin;

SELECT cachegrid.set('r:1', 'x');
SET ROLE regress_nobody;
SELECT cachegrid.get('r:1');
SET ROLE regress_reader;
SELECT cachegrid.get('r:1');
SELECT count(*) > 0 AS seen FROM cachegrid.stat_cache;
SELECT parked FROM cachegrid.stat_mirror;
SELECT key, error, tries FROM cachegrid.mirror_parked;
SELECT cachegrid.set('r:1', 'y');
SELECT cachegrid.add('r:2', 'y');
SET ROLE regress_writer;
SELECT cachegrid.set('r:1', 'y');
SELECT cachegrid.get('r:1');
SELECT cachegrid.clear();
SELECT cachegrid.create_cache('n');
INSERT INTO cachegrid.cache VALUES ('n');
SET ROLE regress_admin;
SELECT cachegrid.create_cache('n');
SELECT cachegrid.drop_cache('n');
SELECT cachegrid.clear() > 0 AS cleared;
RESET ROLE;

-- not one function, table or view of ours is open to PUBLIC
SELECT p.oid::regprocedure FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE p.pronamespace = 'cachegrid'::regnamespace AND a.grantee = 0;
SELECT c.oid::regclass FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
 WHERE c.relnamespace = 'cachegrid'::regnamespace AND a.grantee = 0;
-- every function, table and view says what it is
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = 'cachegrid'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass FROM pg_class c
 WHERE c.relnamespace = 'cachegrid'::regnamespace AND c.relkind IN ('r', 'v') AND obj_description(c.oid, 'pg_class') IS NULL;

DROP ROLE regress_nobody, regress_reader, regress_writer, regress_admin;
