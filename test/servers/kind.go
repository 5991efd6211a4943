package servers

// kind holds the differences between MariaDB and MySQL.
type kind struct {
	name      string // for messages
	label     string // for names of containers and files
	daemon    string // the server's program
	imageEnv  string // the environment variable that names the image
	official  string // the image to pull
	built     string // the name of the image that build makes
	suite     string // Debian's release with the package
	pkg       string // Debian's package, for build
	install   string // advice for a machine without Docker
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
		// The binary log doubles the cost of a commit, and most tests do not read
		// it. A test that does passes --log-bin, which overrides this argument.
		"--disable-log-bin",
		"--mysqlx=OFF",
		"--secure-file-priv=NULL",
	},
}

// settings are the first arguments of every server.
var settings = []string{
	"--innodb-flush-log-at-trx-commit=1",
	"--innodb-buffer-pool-size=256M",
	"--max-allowed-packet=64M",
	"--max-connections=500",
	"--skip-name-resolve",
	"--performance-schema=OFF",
}

// flags returns all arguments of a server. A later argument overrides an earlier one.
func (k kind) flags(more []string) []string {
	var all []string
	for _, part := range [][]string{settings, k.arguments, more} {
		all = append(all, part...)
	}
	return all
}
