// The Go programs of the integration suite.
//
//	usage: apps server PORT DSN        net/http in front of pgx
//	       apps driver pgx|pq DSN      one workload through one driver
//	       apps get URL COUNT          net/http as a client
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"
)

const canary = "literal-canary-4711"

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func server(port, dsn string) {
	pool, err := pgxpool.New(context.Background(), dsn)
	must(err)
	http.HandleFunc("/items/", func(w http.ResponseWriter, r *http.Request) {
		id, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/items/"))
		var name string
		if err := pool.QueryRow(r.Context(), "SELECT name FROM items WHERE id = $1", id).Scan(&name); err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		fmt.Fprintln(w, name)
	})
	must(http.ListenAndServe("127.0.0.1:"+port, nil))
}

func drivePgx(dsn string) {
	ctx := context.Background()
	connection, err := pgx.Connect(ctx, dsn)
	must(err)
	for i := 1; i <= 5; i++ {
		var id int
		var name string
		must(connection.QueryRow(ctx, "SELECT id, name FROM items WHERE id = $1", i).Scan(&id, &name))
	}
	for i := 0; i < 3; i++ {
		_, err := connection.Exec(ctx, "INSERT INTO log (who, what) VALUES ($1, $2)", "pgx", canary)
		must(err)
	}
	rows, err := connection.Query(ctx, "SELECT name FROM items")
	must(err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(err)
	if len(names) != 100 {
		log.Fatalf("%d rows", len(names))
	}
	_, err = connection.Exec(ctx, "SELECT name FROM items WHERE price > 90 AND name <> '"+canary+"'")
	must(err)
	if _, err := connection.Exec(ctx, "SELECT * FROM missing_table"); err == nil {
		log.Fatal("the missing table was found")
	}
	transaction, err := connection.Begin(ctx)
	must(err)
	_, err = transaction.Exec(ctx, "UPDATE items SET price = price + 1 WHERE id < 11")
	must(err)
	must(transaction.Commit(ctx))
	batch := &pgx.Batch{}
	for i := 0; i < 6; i++ {
		batch.Queue("SELECT price FROM items WHERE id = $1", i)
	}
	must(connection.SendBatch(ctx, batch).Close())
	_, err = connection.CopyFrom(ctx, pgx.Identifier{"log"}, []string{"who", "what"},
		pgx.CopyFromRows([][]any{{"copy", "1"}, {"copy", "2"}}))
	must(err)
	rows, err = connection.Query(ctx, "SELECT name FROM items WHERE id = $1", pgx.QueryExecModeSimpleProtocol, 7)
	must(err)
	rows.Close()
	must(connection.Close(ctx))
}

func drivePq(dsn string) {
	database, err := sql.Open("postgres", dsn+" sslmode=disable")
	must(err)
	database.SetMaxOpenConns(1)
	for i := 1; i <= 5; i++ {
		var id int
		var name string
		must(database.QueryRow("SELECT id, name FROM items WHERE id = $1", i).Scan(&id, &name))
	}
	for i := 0; i < 3; i++ {
		_, err := database.Exec("INSERT INTO log (who, what) VALUES ($1, $2)", "pq", canary)
		must(err)
	}
	rows, err := database.Query("SELECT name FROM items")
	must(err)
	count := 0
	for rows.Next() {
		count++
	}
	rows.Close()
	if count != 100 {
		log.Fatalf("%d rows", count)
	}
	_, err = database.Exec("SELECT name FROM items WHERE price > 90 AND name <> '" + canary + "'")
	must(err)
	if _, err := database.Exec("SELECT * FROM missing_table"); err == nil {
		log.Fatal("the missing table was found")
	}
	transaction, err := database.Begin()
	must(err)
	_, err = transaction.Exec("UPDATE items SET price = price + 1 WHERE id < 11")
	must(err)
	must(transaction.Commit())
	statement, err := database.Prepare("SELECT price FROM items WHERE id = $1")
	must(err)
	for i := 0; i < 6; i++ {
		var price int
		_ = statement.QueryRow(i).Scan(&price)
	}
	must(statement.Close())
	must(database.Close())
}

func get(url string, count int) {
	for i := 0; i < count; i++ {
		response, err := http.Get(url)
		must(err)
		_, err = io.Copy(io.Discard, response.Body)
		must(err)
		response.Body.Close()
	}
}

func main() {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 3 && arguments[0] == "server":
		server(arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "driver" && arguments[1] == "pgx":
		drivePgx(arguments[2])
	case len(arguments) == 3 && arguments[0] == "driver" && arguments[1] == "pq":
		drivePq(arguments[2])
	case len(arguments) == 3 && arguments[0] == "get":
		count, err := strconv.Atoi(arguments[2])
		must(err)
		get(arguments[1], count)
	default:
		log.Fatalf("unknown arguments %v", arguments)
	}
}
