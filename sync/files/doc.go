// Package files keeps the chunks of files: it is the part of the sync process that collects unused
// chunks, restores missing and damaged copies, and hands chunks over when partitions join or leave.
//
// A [Keeper] makes passes. A pass reads every manifest, from a partition that is proven to be fresh
// enough, and then the names of the chunks of each partition. Both are kept in memory: about 50 bytes
// for a chunk. From the comparison follow three kinds of work:
//
//   - A chunk that a partition should hold and does not is copied from a holder.
//   - A chunk that no manifest names, or that a partition holds beyond the copies of its files, is
//     marked, and dropped by a pass that finds it in the same state at least the grace time later.
//   - The data of every copy is read and compared with its hash, a part in each pass.
//
// Dropping needs no clock of a database. A chunk is dropped only if it was not used since it was
// marked (partition.Chunks.DropChunks), and an upload publishes its manifest at most half of the
// grace time after the last use of each chunk. So the manifest of a use before the mark was committed
// half of the grace time after the mark at the latest, and the manifests of the dropping pass are as
// of a later moment.
//
// A lease, an entry of the store, keeps two processes from doing the same work; nothing depends on it.
package files
