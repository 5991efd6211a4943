// Package file stores files of any size over a store and its partitions.
//
// # Manifest and chunks
//
// A file is an entry of the space "file", its [Manifest], and the chunks that the manifest names.
// The core replicates, lists, verifies and backs up manifests like every entry. Chunks lie beside the
// entries on some partitions (partition.Chunks): their name is the SHA-256 of their data, so a chunk
// proves itself, and any holder may answer. A file of at most [InlineBytes] bytes is kept inside its
// manifest and has no chunks.
//
// # Placement
//
// The holders of a chunk are the first partitions in the rendezvous order of its hash over all
// configured partitions ([Service.order]). A partition that cannot be used is skipped for the next.
// Placement is only a preference: a reader asks every partition before giving up, so that processes
// with different configurations harm no file.
//
// # Publishing
//
// An upload stores each chunk durably on as many partitions as the file shall have copies, and then
// publishes the manifest in one Update. Readers see the former file or the new file, whole. Chunks
// that no manifest names are collected after a grace time; [Options.Grace] has the rule that keeps the
// chunks of a running upload.
//
// # Reading
//
// Every chunk is compared with its hash before a byte is passed on. A missing or damaged chunk
// is read from another partition, restored, counted and logged.
package file
