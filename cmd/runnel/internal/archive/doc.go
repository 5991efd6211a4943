// Package archive backs up, checks and restores the partitions of a configuration: the part of 'runnel backup' and
// 'runnel restore' that knows files, partitions and the terminal. Package store/backup knows the format.
package archive
