-- ended.sql: what the tests of the ways to write have in common.  They include
-- it with the schema that they work in as search path.
--
-- Table "value" lists queries and the keys under which they are kept.  ended()
-- reads all values of a sort and tells which of them were not in the cache;
-- then it reads all again.  Each is compared with what its query gives in the
-- same statement, and must be a hit the second time: else it says STALE, or
-- "not kept".  So all are there before the next way to write is tried, and
-- what is ended without need shows as well.

CREATE TABLE value (sort text, name text, key text, query text, tags text[]);
CREATE FUNCTION hits() RETURNS numeric LANGUAGE sql VOLATILE SECURITY DEFINER AS 'SELECT sum(hits) FROM cachegrid.stat_cache';
CREATE FUNCTION look(one value) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    was numeric := hits();
    is_right boolean;
BEGIN
    EXECUTE format('SELECT cachegrid.fetch(%L, %L, tags => %L) IS NOT DISTINCT FROM (%2$s)', one.key, one.query, one.tags) INTO is_right;
    RETURN CASE WHEN NOT is_right THEN 'STALE' WHEN hits() = was THEN 'computed' ELSE 'hit' END;
END $$;
CREATE FUNCTION ended(sort text DEFAULT 'product') RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    one value;
    how text;
    list text[] := '{}';
    count int := 0;
BEGIN
    FOR one IN SELECT * FROM value v WHERE v.sort = ended.sort ORDER BY name LOOP
        how := look(one);
        count := count + 1;
        IF how <> 'hit' THEN
            list := list || (CASE how WHEN 'STALE' THEN 'STALE ' ELSE '' END || one.name);
        END IF;
    END LOOP;
    IF cardinality(list) = count AND count > 1 AND array_to_string(list, ' ') NOT LIKE '%STALE%' THEN
        list := '{all}';
    END IF;
    FOR one IN SELECT * FROM value v WHERE v.sort = ended.sort ORDER BY name LOOP
        how := look(one);
        IF how <> 'hit' THEN
            list := list || (CASE how WHEN 'STALE' THEN 'STALE ' ELSE 'not kept: ' END || one.name);
        END IF;
    END LOOP;
    RETURN coalesce(nullif(array_to_string(list, ', '), ''), 'none');
END $$;
CREATE FUNCTION warm(sort text DEFAULT 'product') RETURNS void LANGUAGE sql VOLATILE AS 'SELECT ended(sort)';
