// Package sync carries every change from its master to every other partition.
//
// A [Syncer] makes passes: on a cron schedule, at once when woken by a commit
// of the same process, and on request. In a pass it reads how far every
// partition has come with every origin, and starts a copy for each pair of a
// target and an origin that lags and is not being copied already. Each such
// pair is a lane with a goroutine, a state and a back-off of its own, so
// a slow, dead or refused target, or an hour's filling, holds nothing else back.
//
// A copy flows like this. Under the target's lease it opens one snapshot of the
// origin after the target's position, has the origin make a barrier so that
// nothing is copied that a crash could still take back, and then reads batches
// while it applies the one before. Each Apply moves the target's position by
// compare-and-set, rows and position together. The last one brings the
// target to the snapshot's head and says of which moment it now holds everything.
// Targets at about the same position share one snapshot. After a copy of much, while
// more is being committed, a lane rests; see rest.go for how that bounds the lag.
// When an origin cannot be reached, the partition that holds most of it is the
// source in its place. On scheduled passes a level target is told that it still is.
//
// What is promised, whatever crashes in between and however many processes do
// the same at once:
//
//   - A position never says more than what is held, and is moved only to what
//     is durable on the origin.
//   - A target in the middle of a catch-up (Revision < Goal) is never declared whole
//     by a source that has not reached that goal itself.
//   - Nothing is deleted because it is absent elsewhere. A target from which
//     collected tombstones may be missing is emptied of that origin and filled
//     afresh, from the origin only.
//   - Tombstones are collected only once every configured partition was seen to
//     be whole and beyond them, and beyond everything older of other origins.
//   - An origin of which another partition holds more than itself has lost
//     something: nothing of it is copied until that is mended.
//
// The lease only keeps two processes from doing the same work twice; the one
// without it stands by and takes over. Nothing above rests on it, but for one case:
// two processes that both empty one target of one origin should not overlap.
package sync
