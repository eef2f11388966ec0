-- A shop: a catalogue of products, what is in stock on a ttl, searches by the hash of what is
-- searched for, and popular products that are there before anybody asks.
CREATE TABLE product (id int PRIMARY KEY, name text NOT NULL, price numeric NOT NULL);
CREATE TABLE inventory (product_id int PRIMARY KEY, pieces int NOT NULL);
CREATE TABLE sale (product_id int, pieces int);
INSERT INTO product SELECT i, CASE i % 3 WHEN 0 THEN 'lamp ' WHEN 1 THEN 'desk ' ELSE 'sofa ' END || i, i * 10 FROM generate_series(1, 60) i;
INSERT INTO inventory SELECT i, i % 7 FROM generate_series(1, 60) i;
INSERT INTO sale SELECT i, i FROM generate_series(51, 60) i;

SELECT cachegrid.cache_table('product');
SELECT cachegrid.create_cache('inventory', ttl => '30 seconds', loader => 'SELECT pieces FROM inventory WHERE product_id = $1');
SELECT cachegrid.create_cache('search');
CREATE FUNCTION search(words text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT cachegrid.fetch('search:' || md5(lower(words)),
        'SELECT jsonb_agg(p.id ORDER BY p.price) FROM product p WHERE strpos(p.name, $1) > 0 AND p.price < 100', ARRAY[lower(words)])
$$;
CREATE VIEW work AS SELECT cache, hits, loads FROM cachegrid.stat_cache WHERE cache IN ('product', 'inventory', 'search') ORDER BY cache;

-- popular products, before the shop opens
SELECT cachegrid.preload('product', $$SELECT 'product:' || product_id FROM sale GROUP BY product_id ORDER BY sum(pieces) DESC LIMIT 5$$);
SELECT * FROM work;

-- a page of a popular product: the row was there, the stock is asked for once
SELECT cachegrid.fetch('product:60'), cachegrid.fetch('inventory:60'), cachegrid.expires_at('product:60'),
       cachegrid.ttl('inventory:60') BETWEEN '25 seconds' AND '30 seconds' AS half_a_minute;
SELECT cachegrid.fetch('product:60') -> 'name', cachegrid.fetch('inventory:60');
SELECT * FROM work;

-- a sale: the stock may be 30 seconds old, and is not older; the price never is
UPDATE inventory SET pieces = pieces - 1 WHERE product_id = 60;
UPDATE product SET price = 599 WHERE id = 60;
SELECT cachegrid.fetch('product:60') -> 'price', cachegrid.fetch('inventory:60');
SELECT cachegrid.expire('inventory:60', '1 microsecond');
SELECT cachegrid.fetch('inventory:60'), cachegrid.ttl('inventory:60') BETWEEN '25 seconds' AND '30 seconds' AS half_a_minute;
SELECT * FROM work;

-- the same words are the same search, whoever writes them how
SELECT search('lamp'), search('LAMP'), search('Lamp');
SELECT search('boat');
SELECT search('boat');
SELECT * FROM work;
-- a new product is found, a dearer one not any more, one that is out of the question ends nothing that is wrong
INSERT INTO product VALUES (61, 'lamp 61', 5);
SELECT search('lamp');
UPDATE product SET price = 1000 WHERE id = 3;
SELECT search('lamp'), search('lamp');
BEGIN;
DELETE FROM product WHERE id = 61;
SELECT search('lamp');
ROLLBACK;
SELECT search('lamp');
SELECT * FROM work;

-- all pages of the catalogue twice: each product is computed once, but those that are there
SELECT count(cachegrid.fetch('product:' || id)), count(cachegrid.fetch('inventory:' || id)) FROM product, generate_series(1, 2);
SELECT * FROM work;
SELECT count(*) FROM cachegrid.entries('product:*');

SELECT cachegrid.drop_cache('product'), cachegrid.drop_cache('inventory'), cachegrid.drop_cache('search');
DROP FUNCTION search;
DROP VIEW work;
DROP TABLE product, inventory, sale;
