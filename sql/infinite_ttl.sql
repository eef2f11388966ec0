-- An infinite interval, which there is since PostgreSQL 17, is no time to live:
-- NULL is.  Before, there is no way to write one.
SELECT cachegrid.set('k', 'x', ttl => 'infinity');
SELECT cachegrid.get('k') IS NULL AS nothing_set;
