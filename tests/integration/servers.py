"""The real servers that the suite traces: PostgreSQL and nginx, each with a configuration of its own."""

import glob
import os
import pwd
import shutil
import subprocess
import time

import harness


def postgres_programs():
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    if not folders:
        raise AssertionError("PostgreSQL is not installed: run deploy/install-deps test")
    return folders[-1]


class Postgres:
    """A cluster of its own on a free port, with pg_stat_statements as the judge of what ran."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.port = harness.free_port()
        self.programs = postgres_programs()
        self.folder = workspace.file("postgres")
        self.socket_folder = workspace.file("postgres-socket")
        user = pwd.getpwnam("postgres")
        for folder in (self.folder, self.socket_folder):
            os.mkdir(folder, 0o755)
            os.chown(folder, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": self.folder}
        subprocess.run([f"{self.programs}/initdb", "-D", f"{self.folder}/data", "-A", "trust", "-U", "postgres", "-N",
                        "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, **identity)
        with open(f"{self.folder}/data/postgresql.conf", "a") as file:
            file.write(f"""
port = {self.port}
listen_addresses = '127.0.0.1,::1'
unix_socket_directories = '{self.socket_folder}'
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track_utility = on
pg_stat_statements.save = off
fsync = off
autovacuum = off
max_connections = 60
""")
        self.process = workspace.start([f"{self.programs}/postgres", "-D", f"{self.folder}/data"], "postgres", **identity)
        harness.wait_for_listener(self.port, self.process)
        harness.wait_until(lambda: self._accepts(), "PostgreSQL does not answer")
        self.query("CREATE EXTENSION pg_stat_statements")

    def _accepts(self):
        return subprocess.run([f"{self.programs}/pg_isready", "-q", "-h", self.socket_folder, "-p", str(self.port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def query(self, sql, database="postgres"):
        """Rows as lists of text, by psql over the Unix socket."""
        output = harness.run([f"{self.programs}/psql", "-X", "-q", "-A", "-t", "-F", "\x1f", "-R", "\x1e", "-v",
                              "ON_ERROR_STOP=1", "-h", self.socket_folder, "-p", self.port, "-U", "postgres",
                              "-d", database, "-c", sql])
        return [row.split("\x1f") for row in output.rstrip("\n").split("\x1e") if row]

    def create_database(self, name):
        self.query(f"CREATE DATABASE {name}")
        self.query("""CREATE TABLE items (id int PRIMARY KEY, name text, price int);
                      INSERT INTO items SELECT i, 'item ' || i, i FROM generate_series(1, 100) i;
                      CREATE TABLE log (who text, what text)""", name)

    def reset_statistics(self):
        self.query("SELECT pg_stat_statements_reset()")

    def statistics(self, database):
        """[(text, calls, rows)] of what ran in a database, as the server itself counted."""
        rows = self.query(f"""SELECT query, calls, rows FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
                              WHERE datname = '{database}'""")
        return [(text, int(calls), int(count)) for text, calls, count in rows]

    def dsn(self, database, user="postgres"):
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"


class Nginx:
    """nginx with its own configuration; `server` is the body of its server block."""

    def __init__(self, workspace, server, http="", workers=2, connections=1024):
        binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if not binary:
            raise AssertionError("nginx is not installed: run deploy/install-deps test")
        self.workspace = workspace
        self.port = harness.free_port()
        self.folder = workspace.file(f"nginx-{self.port}")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o755)
        self.access_log = f"{self.folder}/access.log"
        path = f"{self.folder}/nginx.conf"
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind};\n  "
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(path, "w") as file:
            file.write(f"""
daemon off;
worker_processes {workers};
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
  {temporary}
  log_format counted '$status $request_uri';
  access_log {self.access_log} counted;
  keepalive_requests 1000000;
  {http}
  server {{
    listen 127.0.0.1:{self.port} reuseport;
    {server}
  }}
}}
""")
        self.process = workspace.start([binary, "-p", self.folder, "-c", path, "-e", f"{self.folder}/error.log"], "nginx")
        harness.wait_for_listener(self.port, self.process)
        self.pids = harness.wait_until(lambda: self._workers(workers), "nginx has no workers")

    def _workers(self, count):
        found = harness.children_of(self.process.pid)
        return found if len(found) >= count else None

    def logged(self):
        """Lines of the access log: one per request that nginx ended."""
        time.sleep(0.1)
        with open(self.access_log) as file:
            return file.read().splitlines()

    def stop(self):
        self.workspace.stop(self.process)
