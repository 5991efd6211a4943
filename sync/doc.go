// Package sync copies every change from its master to every other partition.
//
// A [Syncer] makes passes: by a cron schedule, at once after a commit of the
// same process, and on request. A pass reads the position of every partition for
// every origin and starts a copy for each pair of a target and an origin that
// lags and is idle. Such a pair is a stream, with a goroutine, a state and
// a retry delay of its own: a slow, dead or refused target, or a fill that takes an
// hour, delays no other stream.
//
// A copy runs as follows. Under the target's lease, the syncer opens a snapshot of
// the origin's changes after the target's position. A barrier on the origin then makes
// sure that a crash cannot take any of them back. While a chunk is applied, the
// next is read. Each Apply commits rows and position together, by compare-and-set of the
// position. The last Apply moves the target to the snapshot's head and records the moment
// as of which the target is complete. Targets at about the same position share a
// snapshot. During a burst of commits streams cool down between copies (see
// pass_pacing.go, which also bounds the lag). If an origin is unreachable, the most
// advanced replica is the source. Scheduled passes confirm to level targets that they are level.
//
// The following holds through all crashes, for any number of syncing processes:
//
//   - A position never exceeds the changes that the partition holds, and advances only to
//     changes that are durable on the origin.
//   - A source declares a target in a multi-step catch-up (Revision < Goal) complete only
//     if the source itself has reached that goal.
//   - Absence from another partition never deletes an entry. A target that may have
//     missed collected tombstones is emptied of that origin and refilled, from
//     the origin only; once slots have moved, of every origin except the target's own.
//   - A partition holds no entries of an epoch that its cluster row does not show. A target
//     below the revision at which an origin last gave slots away is complete only once
//     it holds the source's heads of all other origins (partition.Copy.Goals).
//   - Tombstones are collected only after every configured partition was seen to be
//     complete and beyond them, and beyond everything older of all origins.
//   - An origin that holds less of its own changes than another partition has lost
//     writes: nothing of that origin is copied until the loss is resolved.
//
// The lease merely keeps two processes from doing the same work twice; the process without
// the lease stands by and takes over. None of the promises depends on the lease, with one
// exception: two processes that both refill a target from one origin should not overlap.
//
// A newcomer reads sync.go (the types), pass_schedule.go (when passes begin), pass.go and pass_survey.go (which copies a pass
// starts), copy.go and copy_transfer.go (a copy).
package sync
