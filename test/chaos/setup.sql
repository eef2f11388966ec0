-- The tables that are mirrored, what is known of their keys, and the writing
-- functions: each gives the version that it wrote.

CREATE EXTENSION cachegrid;

CREATE TABLE latest (
    tab     text,
    id      int,
    version bigint  NOT NULL,
    present boolean NOT NULL,
    PRIMARY KEY (tab, id)
);

CREATE TABLE behind (
    id      int    PRIMARY KEY,
    version bigint NOT NULL,
    twin    bigint NOT NULL,    -- the same again: a value of two versions shows
    mark    text   NOT NULL,
    note    text                -- NULL now and then, so that a hash loses a field
);
CREATE TABLE hashed (LIKE behind INCLUDING ALL);
CREATE TABLE through (LIKE behind INCLUDING ALL);
CREATE TABLE expiring (LIKE behind INCLUDING ALL);
CREATE TABLE paired (
    a       int  NOT NULL,
    b       text NOT NULL,
    id      int  UNIQUE,
    version bigint NOT NULL,
    twin    bigint NOT NULL,
    mark    text   NOT NULL,
    note    text,
    PRIMARY KEY (a, b)
);

CREATE FUNCTION name_pair() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.a := NEW.id / 8;
    NEW.b := 'b' || NEW.id % 8;
    RETURN NEW;
END $$;
CREATE TRIGGER name_pair BEFORE INSERT OR UPDATE ON paired FOR EACH ROW EXECUTE FUNCTION name_pair();

-- Nobody else may draw a version of these keys before this transaction has ended.
CREATE FUNCTION claim(tab text, ids int[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    one int;
BEGIN
    EXECUTE format('LOCK TABLE %I IN ROW EXCLUSIVE MODE', tab);
    FOR one IN SELECT DISTINCT unnest(ids) ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(hashtext(tab), one);
    END LOOP;
    RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
END $$;

CREATE FUNCTION remember(tab text, id int, version bigint, present boolean) RETURNS void LANGUAGE sql AS $$
    INSERT INTO latest VALUES (tab, id, version, present)
    ON CONFLICT ON CONSTRAINT latest_pkey
    DO UPDATE SET version = excluded.version, present = excluded.present
$$;

CREATE FUNCTION put(tab text, key int, mark text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v bigint := claim(tab, ARRAY[key]);
BEGIN
    EXECUTE format('INSERT INTO %I (id, version, twin, mark, note) VALUES ($1, $2, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET version = $2, twin = $2, mark = $3, note = $4', tab)
        USING key, v, mark, CASE WHEN v % 3 > 0 THEN repeat('x', (v % 200)::int) END;
    PERFORM remember(tab, key, v, true);
    RETURN v;
END $$;

CREATE FUNCTION take(tab text, key int, mark text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v bigint := claim(tab, ARRAY[key]);
BEGIN
    EXECUTE format('DELETE FROM %I WHERE id = $1', tab) USING key;
    PERFORM remember(tab, key, v, false);
    RETURN v;
END $$;

-- Away and there again, by two statements.
CREATE FUNCTION renew(tab text, key int, mark text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(tab, key, mark);
    RETURN put(tab, key, mark);
END $$;

-- The row gets the key of its neighbour, if that is not there.
CREATE FUNCTION move(tab text, key int, mark text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    other int := key # 1;
    v bigint := claim(tab, ARRAY[key, other]);
    moved int;
BEGIN
    EXECUTE format('DELETE FROM %I WHERE id = $1', tab) USING other;
    EXECUTE format('UPDATE %I SET id = $1, version = $2, twin = $2, mark = $3 WHERE id = $4', tab)
        USING other, v, mark, key;
    GET DIAGNOSTICS moved = ROW_COUNT;
    PERFORM remember(tab, key, v, false);
    PERFORM remember(tab, other, v, moved > 0);
    RETURN v;
END $$;

CREATE FUNCTION empty(tab text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v bigint;
BEGIN
    EXECUTE format('TRUNCATE %I', tab);
    v := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    UPDATE latest SET version = v, present = false WHERE latest.tab = empty.tab;
    RETURN v;
END $$;

-- Room for COPY: the ids are free, and their rows are to have this version.
CREATE FUNCTION make_room(tab text, ids int[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v bigint := claim(tab, ids);
BEGIN
    EXECUTE format('DELETE FROM %I WHERE id = ANY ($1)', tab) USING ids;
    PERFORM remember(tab, one, v, true) FROM unnest(ids) one;
    RETURN v;
END $$;
