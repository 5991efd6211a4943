// Package s3 serves files by the protocol of Amazon S3, on a listener of its own, for the tools that speak it: rclone,
// restic, s3cmd, the SDKs.
//
// A [Door] stands in front of github.com/rclone/gofakes3, which decodes requests and encodes answers. The door itself
// checks the signature with a secret derived from the id of an API key ([SecretOf]), judges the grants of the key before
// anything is touched, decodes aws-chunked bodies, compares each body with the SHA-256 and the checksums that the client
// states, and bounds memory and time. The backend of the library is
// store/file: a bucket is the first segment of a file's name.
package s3
