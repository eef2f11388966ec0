-- Writes docs/reference.md out of the comments of the extension's objects:
-- psql -XAtq -f docs/reference.sql -o docs/reference.md, in a database with the extension.

\pset fieldsep ''
SELECT $$# Reference

Made by `docs/reference.sql` out of the `COMMENT`s of the SQL objects; psql shows them, too (`\df+ cachegrid.*`).

$$;

SELECT '## Functions' || E'\n';
SELECT format(E'### %s\n\n    cachegrid.%s(%s)%s\n\n%s%s\n', p.proname, p.proname, pg_get_function_arguments(p.oid),
              CASE WHEN 't' = ANY (p.proargmodes) THEN ''
                   WHEN pg_get_function_result(p.oid) = 'void' THEN '' ELSE ' -> ' || pg_get_function_result(p.oid) END,
              obj_description(p.oid, 'pg_proc'),
              coalesce(E'\n\nGranted to ' || (SELECT string_agg('`' || a.grantee::regrole::text || '`', ', ' ORDER BY a.grantee::regrole::text)
                                          FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner) || '.', ''))
  FROM pg_proc p
 WHERE p.pronamespace = 'cachegrid'::regnamespace
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = p.pronamespace AND c.relname = p.proname AND c.relkind = 'v')
   AND EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner)
 ORDER BY p.proname, p.oid;

SELECT '## Views and tables' || E'\n';
SELECT format(E'### %s\n\n%s\n\n| column | type | |\n|---|---|---|\n%s\n', c.relname, obj_description(c.oid, 'pg_class'),
              (SELECT string_agg(format('| `%s` | %s | %s |', a.attname, format_type(a.atttypid, a.atttypmod),
                                        coalesce(col_description(a.attrelid, a.attnum), '')), E'\n' ORDER BY a.attnum)
                 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
  FROM pg_class c
 WHERE c.relnamespace = 'cachegrid'::regnamespace AND c.relkind IN ('v', 'r')
   AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)
 ORDER BY c.relname;

SELECT '## Settings' || E'\n';
SELECT E'| setting | default | unit | changed by | |\n|---|---|---|---|---|';
SELECT format('| `%s` | %s | %s | %s | %s%s |', name, boot_val, coalesce(unit, ''),
              CASE context WHEN 'postmaster' THEN 'restart' WHEN 'sighup' THEN 'reload' WHEN 'superuser' THEN 'superuser' ELSE 'anybody' END,
              short_desc, coalesce(' ' || extra_desc, ''))
  FROM pg_settings WHERE name LIKE 'cachegrid.%' ORDER BY name;
