# The case with real servers: nginx before Node before PostgreSQL, asked by curl, a Node program, psql and pgbench. Sourced
# by cases.sh; what they did is in /tmp/results/real beside what the agent said of it, and tests/kernels/real_servers.py judges.
pg=$(echo /usr/lib/postgresql/*/bin)
front=http://127.0.0.1:8088

# until_true COMMAND...: waits for it; emulated programs take their time.
until_true() {
  tries=0
  until "$@" > /dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { echo "never true: $*"; return 1; }
    sleep 0.2
  done
}

sql() {
  $pg/psql -X -q -A -t -v ON_ERROR_STOP=1 -h /tmp -U postgres "$@"
}

real_postgres() {
  chown -R postgres /data
  su -s /bin/sh postgres -c "exec $pg/postgres -D /data" > $folder/postgres.log 2>&1 &
  export PGPORT=5433
  until_true $pg/pg_isready -q -h /tmp || return 1
  sql -d postgres -c "CREATE EXTENSION pg_stat_statements" || return 1
  for database in shop shell bench; do
    sql -d postgres -c "CREATE DATABASE $database" || return 1
    sql -d $database -c "CREATE TABLE items (id int PRIMARY KEY, name text, price int);
                         INSERT INTO items SELECT i, 'item ' || i, i FROM generate_series(1, 400) i;
                         CREATE TABLE log (who text, what text)" || return 1
  done
}

real_nginx() {
  mkdir -p /www/files /nginx
  for number in $(seq 1 12); do
    head -c $((number * number * 1000)) /dev/zero > /www/files/$number.bin
  done
  cat > /nginx/nginx.conf <<END
user root;
daemon off;
worker_processes 2;
pid /nginx/pid;
events { worker_connections 256; }
http {
  client_body_temp_path /nginx/body; proxy_temp_path /nginx/proxy; fastcgi_temp_path /nginx/fastcgi;
  uwsgi_temp_path /nginx/uwsgi; scgi_temp_path /nginx/scgi;
  log_format counted '\$status \$request_method \$request_uri \$upstream_status';
  access_log /nginx/access.log counted;
  sendfile on;
  upstream app { server 127.0.0.1:8089; keepalive 16; }
  server {
    listen 127.0.0.1:8088;
    location /files/ { root /www; }
    location /items/ { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 300s; }
  }
}
END
  nginx -p /nginx -c /nginx/nginx.conf -e /nginx/error.log > $folder/nginx.log 2>&1 &
}

real_clients() {
  for round in 1 2; do
    curl -sS -o /dev/null -w '%{http_code}\n' "$front/files/[1-15].bin" >> $folder/curl 2>> $folder/curl.log &
    pids="$pids $!"
    echo $! >> $folder/curl.pids
  done
  for pid in $pids; do wait $pid; done
  curl -sS -o /dev/null -w '%{http_code}\n' "$front/items/[101-120]" --next -sS -o /dev/null -w '%{http_code}\n' \
    --data-binary @/www/files/4.bin "$front/items/[201-205]" >> $folder/curl 2>> $folder/curl.log &
  echo $! >> $folder/curl.pids
  wait $!
  node /t/real_client.js $front 301 360 4 > $folder/node_client 2>&1
  cat > /tmp/real.sql <<'END'
SELECT name FROM items WHERE price = 7;
INSERT INTO log VALUES ('a', 'b'), ('c', 'd');
UPDATE items SET price = 0 WHERE id > 90;
SELECT nothing FROM nowhere;
SELECT repeat('x', 1000) FROM generate_series(1, 2000);
DELETE FROM log;
END
  $pg/psql -X -q -h 127.0.0.1 -U postgres -d shell -f /tmp/real.sql > $folder/psql 2>&1
  $pg/psql -X -q -h /tmp -U postgres -d shell -f /tmp/real.sql >> $folder/psql 2>&1
  cat > /tmp/bench.sql <<'END'
\set id random(1, 100)
SELECT name, price FROM items WHERE id = :id;
INSERT INTO log (who, what) VALUES ('bench', :id);
END
  for mode in simple extended prepared; do
    $pg/pgbench -n -c 2 -j 1 -t 25 -M $mode -f /tmp/bench.sql -h 127.0.0.1 -U postgres bench >> $folder/pgbench 2>&1
  done
}

case_real() {
  folder=$results/real
  mkdir -p $folder /dev/shm
  mount -t tmpfs tmpfs /dev/shm
  printf 'root:x:0:0::/tmp:/bin/sh\npostgres:x:70:70::/tmp:/bin/sh\n' > /etc/passwd
  printf 'root:x:0:\npostgres:x:70:\n' > /etc/group
  real_postgres || return 1
  real_nginx
  node /t/node/server.js 8089 127.0.0.1 5433 shop > $folder/node.log 2>&1 &
  # One request before the agent is there: the connections behind nginx are older than it.
  until_true curl -sSf -o /dev/null $front/items/1 || return 1
  : > /nginx/access.log
  sql -d postgres -c "SELECT pg_stat_statements_reset()" > /dev/null || return 1
  start real 8686 || return 0
  real_clients
  sleep 2
  stop real 8686 $agent
  cp /nginx/access.log $folder/access.log
  sql -d postgres -c "SELECT json_build_object('database', datname, 'query', query, 'calls', calls, 'rows', rows)
    FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE datname <> 'postgres'" > $folder/statements
}
