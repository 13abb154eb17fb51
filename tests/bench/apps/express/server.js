// Express in front of PostgreSQL.  usage: server.js PORT PGPORT DATABASE
'use strict';
const express = require('express');
const {Pool} = require('pg');

const [port, pgPort, database] = process.argv.slice(2);
const pool = new Pool({host: '127.0.0.1', port: Number(pgPort), database, user: 'postgres', max: 8});
const app = express();

app.get('/items/:id', async (request, response, next) => {
  try {
    const result = await pool.query('SELECT id, name FROM items WHERE id = $1', [Number(request.params.id)]);
    response.json(result.rows[0]);
  } catch (error) {
    next(error);
  }
});
app.listen(Number(port), '127.0.0.1');
