package report

// The systems of the files phase. Each takes a file of fileBytes in a request, or returns it.
const (
	NoFiles   = "files-nowhere" // a handler that discards files, and sends from memory
	DiskFiles = "files-on-disk" // a handler that writes, syncs and renames a file, and sends it
)

// OurFiles names the Runnel of a kind in the files phase: three partitions, of which two hold each chunk.
func OurFiles(kind string) string { return "files-" + kind }

// FileMiB is the size of a file in MiB.
const FileMiB = 64

// The points of the files phase, with one client and with four.
var (
	FilePut  = Point{"file-put", 1, FileMiB << 20}
	FileGet  = Point{"file-get", 1, FileMiB << 20}
	FilePuts = Point{"file-put", 4, FileMiB << 20}
	FileGets = Point{"file-get", 4, FileMiB << 20}
)

// FilePoints returns the points of the files phase.
func FilePoints() []Point { return []Point{FilePut, FileGet, FilePuts, FileGets} }

var fileRate = Metric{"MiB/s", func(r Report) float64 { return r.PerSecond }}

// fileRatios compare the files of Runnel with the same bytes behind the bare handlers.
func fileRatios() []ratio {
	var all []ratio
	for _, kind := range []string{Embedded, OnMariaDB} {
		for _, other := range []string{DiskFiles, NoFiles} {
			for _, p := range []Point{FilePut, FileGet} {
				all = append(all, ratio{name: p.Case + "-" + kind + "/" + other, phase: FilesPhase, ours: OurFiles(kind), other: other, ourPoint: p, otherPoint: p, metric: fileRate})
			}
		}
	}
	return all
}
