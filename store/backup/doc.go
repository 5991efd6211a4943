// Package backup writes, checks and restores backups of a partition.
//
// A backup is a file, or a stream, with everything that a partition held at one moment: its cluster
// row, its positions, and every entry up to the positions, tombstones included. An incremental
// backup holds only the entries after the positions of an earlier backup, its base. That is enough,
// because the table of entries is the replication log.
//
//	Write   partition → file    a consistent view, read in the order of origins and revisions
//	Read    file → blocks       every byte is checked before it is used
//	Check   file → Summary      reads to the end
//	Restore files → partition   a chain: a full backup and the incremental backups that follow
//
// All of them need memory for a few blocks, whatever the size of the backup. A block holds at most
// blockEntries entries and little more than blockBytes of values, or a single larger entry.
//
// # Format
//
// docs/backup.md describes the format. A file is the magic, a sequence of frames (a header, blocks and a footer) and a trailer; see
// headBytes for frames, Header, appendBlock, Footer and endMark.
//
// # Restore
//
// Entries are applied like those of a copy, so position and entries always agree. Until all have
// arrived, the epoch of the cluster row is partition.RestoringEpoch, and no store uses the database.
// A replica then belongs to its cluster as of the backup and catches up like a replica that was away.
// A master must not: it would use the revisions of lost writes again. Its epoch stays negative until
// Store.Restore begins a new epoch.
package backup
