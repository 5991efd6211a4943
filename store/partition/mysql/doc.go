// Package mysql keeps a partition in a MySQL or MariaDB database. It uses the connections of the
// driver directly, without database/sql: a commit, a step of a copy and the opening of a snapshot
// take one round trip each.
package mysql
