// One workload through node-postgres.  usage: driver.js HOST PORT DATABASE
'use strict';
const assert = require('assert');
const {Client, Pool} = require('pg');

const [host, port, database] = process.argv.slice(2);
const canary = 'literal-canary-4711';

async function main() {
  const client = new Client({host, port: Number(port), database, user: 'postgres'});
  await client.connect();
  for (let i = 1; i <= 5; i++) {
    const result = await client.query('SELECT id, name FROM items WHERE id = $1', [i]);
    assert.strictEqual(result.rows.length, 1);
  }
  for (let i = 0; i < 3; i++) {
    await client.query('INSERT INTO log (who, what) VALUES ($1, $2)', ['node', canary]);
  }
  for (let i = 0; i < 4; i++) {
    await client.query({name: 'by-price', text: 'SELECT name FROM items WHERE price > $1', values: [90]});
  }
  assert.strictEqual((await client.query('SELECT name FROM items')).rows.length, 100);
  await client.query(`SELECT name FROM items WHERE price > 90 AND name <> '${canary}'`);
  await client.query('SELECT 1; SELECT 2');
  await assert.rejects(client.query('SELECT * FROM missing_table'));
  await assert.rejects(client.query('SELECT * FROM missing_table WHERE id = $1', [1]));
  await client.query('BEGIN');
  await client.query('UPDATE items SET price = price + 1 WHERE id < 11');
  await client.query('COMMIT');
  await client.end();
  const pool = new Pool({host, port: Number(port), database, user: 'postgres', max: 4});
  await Promise.all(Array.from({length: 20}, (_, i) => pool.query('SELECT price FROM items WHERE id = $1', [i])));
  await pool.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
