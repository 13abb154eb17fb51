// HTTP in front of PostgreSQL.  usage: server.js PORT PGHOST PGPORT DATABASE
'use strict';
const http = require('http');
const {Pool} = require('pg');

const [port, host, pgPort, database] = process.argv.slice(2);
const pool = new Pool({host, port: Number(pgPort), database, user: 'postgres', max: 8});

http.createServer(async (request, response) => {
  try {
    const id = Number(request.url.split('/')[2] || 1);
    const result = await pool.query('SELECT id, name FROM items WHERE id = $1', [id]);
    const body = JSON.stringify(result.rows);
    response.writeHead(200, {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body)});
    response.end(body);
  } catch (error) {
    response.writeHead(500);
    response.end(String(error));
  }
}).listen(Number(port), '127.0.0.1');
