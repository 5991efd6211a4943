package testbed

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	_ "github.com/go-sql-driver/mysql"
	"github.com/gorilla/mux"
)

// Ceiling answers from a map, which is the upper limit of any store behind gorilla/mux and net/http.
func Ceiling() http.Handler {
	var mu sync.RWMutex
	values := map[string][]byte{}
	router := mux.NewRouter()
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		mu.RLock()
		value, ok := values[mux.Vars(r)["key"]]
		mu.RUnlock()
		writeValue(w, value, ok)
	}).Methods(http.MethodGet)
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		values[mux.Vars(r)["key"]] = value
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}).Methods(http.MethodPut)
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		delete(values, mux.Vars(r)["key"])
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}).Methods(http.MethodDelete)
	return router
}

func writeValue(w http.ResponseWriter, value []byte, ok bool) {
	if !ok {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(len(value)))
	w.Write(value)
}

// plainConnections is the number of open connections of plain, one for each of 64 clients.
const plainConnections = 64

const (
	plainTable = `CREATE TABLE IF NOT EXISTS plain (
	name  VARBINARY(512) NOT NULL PRIMARY KEY,
	value LONGBLOB NOT NULL
) ENGINE = InnoDB`
	plainGet = `SELECT value FROM plain WHERE name = ?`
	// PlainPut writes the name and the value of a row.
	PlainPut    = `INSERT INTO plain (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)`
	plainDelete = `DELETE FROM plain WHERE name = ?`
)

// plainStore runs a prepared statement per request in autocommit, like a handler without tuning.
type plainStore struct{ get, put, remove *sql.Stmt }

func newPlain(ctx context.Context, dsn string) (*plainStore, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(plainConnections)
	db.SetMaxIdleConns(plainConnections)
	return preparePlain(ctx, db)
}

func preparePlain(ctx context.Context, db *sql.DB) (*plainStore, error) {
	if _, err := db.ExecContext(ctx, plainTable); err != nil {
		return nil, err
	}
	var p plainStore
	var err error
	for query, statement := range map[string]**sql.Stmt{plainGet: &p.get, PlainPut: &p.put, plainDelete: &p.remove} {
		if *statement, err = db.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

func (p *plainStore) handler() http.Handler {
	router := mux.NewRouter()
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		var value []byte
		err := p.get.QueryRowContext(r.Context(), mux.Vars(r)["key"]).Scan(&value)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeValue(w, value, err == nil)
	}).Methods(http.MethodGet)
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = p.put.ExecContext(r.Context(), mux.Vars(r)["key"], value)
		}
		finish(w, err)
	}).Methods(http.MethodPut)
	router.HandleFunc("/v1/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		_, err := p.remove.ExecContext(r.Context(), mux.Vars(r)["key"])
		finish(w, err)
	}).Methods(http.MethodDelete)
	return router
}

func finish(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
