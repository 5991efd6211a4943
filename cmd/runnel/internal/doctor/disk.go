package doctor

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/runnelkv/runnel/config"
)

// networkFileSystems are those of Linux that keep files on another machine, by the numbers of statfs(2).
var networkFileSystems = map[int64]string{0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x517b: "SMB", 0x00c36400: "Ceph", 0x65735546: "FUSE"}

// leastFree is the space, in bytes, that the write-ahead log of an SQLite file may need; docs/operations.md recommends it.
const leastFree = 256 << 20

func (e *examination) localDisk() {
	for _, p := range e.Config.Partitions {
		if p.URL.Scheme != config.SQLite {
			continue
		}
		folder := existingFolder(p.URL.Path)
		var disk syscall.Statfs_t
		if err := syscall.Statfs(folder, &disk); err != nil {
			e.add(Fail, folder, "%v", err)
			continue
		}
		name, network := networkFileSystems[int64(disk.Type)&0xffffffff]
		switch free := disk.Bavail * uint64(disk.Bsize); {
		case network:
			e.add(Fail, p.URL.Path, "is on a file system of the kind %s, whose locks and flushes may fail silently: use a local disk", name)
		case free < leastFree:
			e.add(Warn, p.URL.Path, "the disk has %d MiB left, and the write-ahead log alone may need %d MiB", free>>20, leastFree>>20)
		default:
			e.add(OK, p.URL.Path, "is on a local disk with space")
		}
	}
}

// existingFolder returns the nearest folder of a path that exists.
func existingFolder(path string) string {
	folder, err := filepath.Abs(path)
	for err == nil && folder != "/" {
		folder = filepath.Dir(folder)
		if info, missing := os.Stat(folder); missing == nil && info.IsDir() {
			break
		}
	}
	return folder
}
