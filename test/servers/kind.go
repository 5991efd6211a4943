package servers

// A kind is what differs between MariaDB and MySQL.
type kind struct {
	name      string // as people write it
	label     string // as names of containers and files need it
	daemon    string // the server's program
	imageEnv  string // the variable that names the image to use
	official  string // the image that is pulled
	built     string // the image that is built here otherwise
	suite     string // Debian's release that has the package
	pkg       string // Debian's package, for building
	install   string // how a machine without Docker gets the server
	arguments []string
}

var mariaDB = kind{
	name:     "MariaDB",
	label:    "mariadb",
	daemon:   "mariadbd",
	imageEnv: "RUNNEL_TEST_MARIADB_IMAGE",
	official: "mariadb:11.8",
	built:    "runnel-test/mariadb:10.11",
	suite:    "bookworm",
	pkg:      "mariadb-server",
	install:  "apt-get install mariadb-server",
}

var mySQL = kind{
	name:     "MySQL",
	label:    "mysql",
	daemon:   "mysqld",
	imageEnv: "RUNNEL_TEST_MYSQL_IMAGE",
	official: "mysql:9",
	built:    "runnel-test/mysql:9.7",
	suite:    "sid",
	pkg:      "mysql-server-core",
	install:  "install MySQL's own mysql-server package (Debian stable has none)",
	arguments: []string{
		// The binary log doubles what a commit costs and nothing here reads it.
		// A test that needs it passes --log-bin: the last one counts.
		"--disable-log-bin",
		"--mysqlx=OFF",
		"--secure-file-priv=NULL",
	},
}

// settings are given to every server before its own arguments.
var settings = []string{
	"--innodb-flush-log-at-trx-commit=1",
	"--innodb-buffer-pool-size=256M",
	"--max-allowed-packet=64M",
	"--max-connections=500",
	"--skip-name-resolve",
	"--performance-schema=OFF",
}

// flags returns the arguments of a server, the later of which win.
func (k kind) flags(more []string) []string {
	var all []string
	for _, part := range [][]string{settings, k.arguments, more} {
		all = append(all, part...)
	}
	return all
}
