"""One workload through one Python driver.

usage: python_driver.py psycopg2|psycopg3|asyncpg|pg8000 HOST PORT DATABASE
"""

import asyncio
import io
import sys

NAME, HOST, PORT, DATABASE = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
CANARY = "literal-canary-4711"
MISSING = "SELECT * FROM missing_table"


def use_dbapi(connection, errors, mark="%s"):
    """What every DB-API driver does alike."""
    connection.autocommit = True
    cursor = connection.cursor()
    for i in range(5):
        cursor.execute(f"SELECT id, name FROM items WHERE id = {mark}", (i + 1,))
        assert len(cursor.fetchall()) == 1
    for i in range(3):
        cursor.execute(f"INSERT INTO log (who, what) VALUES ({mark}, {mark})", (NAME, CANARY))
    cursor.execute("SELECT name FROM items")
    assert len(cursor.fetchall()) == 100
    cursor.execute(f"SELECT name FROM items WHERE price > 90 AND name <> '{CANARY}'")
    cursor.fetchall()
    try:
        cursor.execute(MISSING)
        raise SystemExit("the missing table was found")
    except errors:
        pass
    connection.autocommit = False
    cursor.execute("UPDATE items SET price = price + 1 WHERE id < 11")
    connection.commit()
    cursor.execute("DELETE FROM log")
    connection.rollback()
    cursor.executemany(f"INSERT INTO log (who, what) VALUES ({mark}, {mark})", [("many", str(i)) for i in range(4)])
    connection.commit()
    connection.autocommit = True
    return cursor


def psycopg2_():
    import psycopg2
    connection = psycopg2.connect(host=HOST, port=PORT, dbname=DATABASE, user="postgres")
    cursor = use_dbapi(connection, psycopg2.Error)
    cursor.execute("SELECT 1; SELECT 2; SELECT count(*) FROM items")
    cursor.copy_expert("COPY log (who, what) FROM STDIN", io.StringIO("a\tb\nc\td\n"))
    cursor.copy_expert("COPY items TO STDOUT", io.StringIO())
    cursor.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    cursor.execute("LISTEN news")
    cursor.execute("NOTIFY news, 'x'")
    connection.poll()
    connection.autocommit = False
    named = connection.cursor("fetcher")
    named.itersize = 30
    named.execute("SELECT id FROM items")
    assert len(list(named)) == 100
    named.close()
    connection.commit()
    connection.close()


def psycopg3():
    import psycopg
    connection = psycopg.connect(host=HOST, port=PORT, dbname=DATABASE, user="postgres")
    connection.autocommit = True
    cursor = use_dbapi(connection, psycopg.Error)
    for i in range(8):  # becomes a named prepared statement on the way
        cursor.execute("SELECT price FROM items WHERE id = %s", (i,))
        cursor.fetchall()
    with cursor.copy("COPY log (who, what) FROM STDIN") as copy:
        for i in range(10):
            copy.write_row(("copy", str(i)))
    with cursor.copy("COPY (SELECT * FROM items) TO STDOUT") as copy:
        assert sum(1 for _ in copy.rows()) == 100
    with connection.pipeline():
        cursors = [connection.execute("SELECT name FROM items WHERE id = %s", (i + 1,)) for i in range(10)]
    assert [len(c.fetchall()) for c in cursors] == [1] * 10
    try:  # the first statement fails, the rest of the pipeline is skipped to its Sync
        with connection.pipeline():
            connection.execute(MISSING)
            connection.execute("SELECT 'skipped'")
    except psycopg.Error:
        pass
    with connection.transaction():
        with connection.cursor("fetcher") as named:
            named.execute("SELECT id FROM items")
            assert len(named.fetchmany(40)) == 40
    connection.close()


async def asyncpg_():
    import asyncpg
    connection = await asyncpg.connect(host=HOST, port=PORT, database=DATABASE, user="postgres")
    for i in range(5):
        assert len(await connection.fetch("SELECT id, name FROM items WHERE id = $1", i + 1)) == 1
    for i in range(3):
        await connection.execute("INSERT INTO log (who, what) VALUES ($1, $2)", NAME, CANARY)
    assert len(await connection.fetch("SELECT name FROM items")) == 100
    await connection.fetch(f"SELECT name FROM items WHERE price > 90 AND name <> '{CANARY}'")
    try:
        await connection.fetch(MISSING)
        raise SystemExit("the missing table was found")
    except asyncpg.PostgresError:
        pass
    async with connection.transaction():
        await connection.execute("UPDATE items SET price = price + 1 WHERE id < 11")
        count = 0
        async for _ in connection.cursor("SELECT id FROM items", prefetch=30):  # portals, suspended and resumed
            count += 1
        assert count == 100
    await connection.executemany("INSERT INTO log (who, what) VALUES ($1, $2)", [("many", str(i)) for i in range(4)])
    await connection.copy_records_to_table("log", records=[("copy", str(i)) for i in range(10)], columns=["who", "what"])
    await connection.execute("SELECT 1; SELECT 2")
    await connection.close()


def pg8000_():
    import pg8000.dbapi
    connection = pg8000.dbapi.connect("postgres", host=HOST, port=PORT, database=DATABASE)
    use_dbapi(connection, pg8000.dbapi.Error)
    connection.close()


{"psycopg2": psycopg2_, "psycopg3": psycopg3, "asyncpg": lambda: asyncio.run(asyncpg_()), "pg8000": pg8000_}[NAME]()
