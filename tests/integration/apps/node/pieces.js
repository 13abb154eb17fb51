// A client whose connection is older than the agent, and that sends each message of a batch in a write of its own:
// pieces.js PORT GATE. It connects, makes GATE.ready, and asks three times when GATE is there.
'use strict';
const fs = require('fs');
const {Client} = require('pg');

const [port, gate] = process.argv.slice(2);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function main() {
  const client = new Client({host: '127.0.0.1', port: Number(port), database: 'pieces', user: 'postgres'});
  await client.connect();
  client.connection.stream.cork = client.connection.stream.uncork = () => {};
  const ask = (i) => client.query('SELECT name FROM items WHERE id = $1', [i]);
  await ask(1);
  fs.writeFileSync(`${gate}.ready`, '');
  while (!fs.existsSync(gate)) await sleep(10);
  for (let i = 1; i <= 3; i++) await ask(i);
  await sleep(1000);
  await client.end();
}
main();
