#!/usr/bin/python3
# A page from the cache, or made and kept: lookup.py KEY.  Connects as libpq's environment says.
import psycopg2, sys

def page(db, key, make):
    with db, db.cursor() as cursor:                 # a transaction of its own, ended before the work
        cursor.execute('SELECT * FROM cachegrid.lookup(%s, lease => %s)', (key, '10 seconds'))
        value, token, must_load = cursor.fetchone()
    if not must_load:
        return value
    try:
        value = make(key)                           # slow, and anything may happen
    except Exception:
        with db, db.cursor() as cursor:             # let another one try, now
            cursor.execute('SELECT cachegrid.give_up(%s, %s)', (key, token))
        raise
    with db, db.cursor() as cursor:                 # kept, unless the page changed meanwhile
        cursor.execute('SELECT cachegrid.fill(%s, %s, %s, ttl => %s)', (key, value, token, '1 hour'))
    return value

def make(key):
    print('making', key, file=sys.stderr)
    return '<h1>%s</h1>' % key

print(page(psycopg2.connect(''), sys.argv[1], make))
