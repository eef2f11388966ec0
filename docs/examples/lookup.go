// A page from the cache, or made and kept: go run lookup.go KEY.  Connects as libpq's environment says.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	_ "github.com/lib/pq"
)

func page(db *sql.DB, key string, make func(string) (string, error)) (string, error) {
	var value, token sql.NullString
	var mustLoad bool
	err := db.QueryRow("SELECT * FROM cachegrid.lookup($1, lease => '10 seconds')", key).Scan(&value, &token, &mustLoad)
	if err != nil || !mustLoad {
		return value.String, err
	}
	made, err := make(key) // slow, and anything may happen
	if err != nil {        // let another one try, now
		db.Exec("SELECT cachegrid.give_up($1, $2)", key, token)
		return "", err
	} // kept, unless the page changed meanwhile
	_, err = db.Exec("SELECT cachegrid.fill($1, $2::text, $3, ttl => '1 hour')", key, made, token)
	return made, err
}

func main() {
	db, err := sql.Open("postgres", "")
	if err != nil {
		log.Fatal(err)
	}
	value, err := page(db, os.Args[1], func(key string) (string, error) {
		fmt.Fprintln(os.Stderr, "making", key)
		return "<h1>" + key + "</h1>", nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(value)
}
