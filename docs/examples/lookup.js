#!/usr/bin/node
// A page from the cache, or made and kept: lookup.js KEY.  Connects as libpq's environment says.
const { Client } = require('pg')

async function page(db, key, make) {
  const looked = await db.query('SELECT * FROM cachegrid.lookup($1, lease => $2)', [key, '10 seconds'])
  const { value, token, must_load } = looked.rows[0]
  if (!must_load) return value
  let made
  try {
    made = await make(key)                          // slow, and anything may happen
  } catch (error) {                                 // let another one try, now
    await db.query('SELECT cachegrid.give_up($1, $2)', [key, token])
    throw error
  }                                                 // kept, unless the page changed meanwhile
  await db.query('SELECT cachegrid.fill($1, $2::text, $3, ttl => $4)', [key, made, token, '1 hour'])
  return made
}

async function make(key) {
  console.error('making', key)
  return `<h1>${key}</h1>`
}

(async () => {
  const db = new Client()
  await db.connect()
  console.log(await page(db, process.argv[2], make))
  await db.end()
})()
