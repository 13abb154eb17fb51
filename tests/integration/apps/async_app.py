"""FastAPI on asyncpg: many requests on one thread, so that nobody can tell from outside which query is whose.

usage: async_app.py PORT DATABASE PGPORT
"""

import sys

import asyncpg
import uvicorn
from fastapi import FastAPI

app = FastAPI()
pool = None


@app.on_event("startup")
async def connect():
    global pool
    pool = await asyncpg.create_pool(host="127.0.0.1", port=int(sys.argv[3]), database=sys.argv[2], user="postgres",
                                     min_size=4, max_size=4)


@app.get("/items/{number}")
async def item(number: int):
    async with pool.acquire() as connection:
        row = await connection.fetchrow("SELECT name FROM items WHERE id = $1", number)
    return {"name": row["name"] if row else None}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
