// Package mysqltest opens partitions on the MySQL and MariaDB servers that tests share.
package mysqltest
