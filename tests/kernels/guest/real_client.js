// Asks for /items/FIRST to /items/LAST over CONNECTIONS kept ones and prints what was answered.
// usage: real_client.js URL FIRST LAST CONNECTIONS
'use strict';
const http = require('http');

const [url, first, last, connections] = process.argv.slice(2);
const agent = new http.Agent({keepAlive: true, maxSockets: Number(connections)});
const statuses = {};
let left = Number(last) - Number(first) + 1;

function done() {
  if (--left > 0) return;
  console.log(JSON.stringify({pid: process.pid, statuses}));
  agent.destroy();
}

for (let id = Number(first); id <= Number(last); ++id) {
  http.get(`${url}/items/${id}`, {agent}, (response) => {
    statuses[response.statusCode] = (statuses[response.statusCode] || 0) + 1;
    response.resume();
    response.on('end', done);
  }).on('error', (error) => {
    console.error(String(error));
    done();
  });
}
