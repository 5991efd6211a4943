// Package lock holds named locks with an owner, an expiry, a queue of waiters and a fence.
//
// # State
//
// The lock NAME is the entry lock/NAME of the store. Its value is a record: the holder, and a queue of tickets. So locks are
// replicated, verified and backed up like any entry, and every change of a lock is one Update on the master of the name.
// The key NAME has the same master.
//
// # Fence
//
// The fence of a holder is the revision of its acquisition. Later holders have larger fences, also after the lock has moved
// to another master. A write that names the fence ([store.UpdateOptions].Fences) is refused in its own transaction once the
// lock is not held with that fence, so a holder that was paused past its expiry changes nothing.
//
// # Expiry
//
// The clock of the master's database decides. After a move of the lock another clock decides, so a lock of the former
// master stays held until the new master has written its entry: the first refused attempt to acquire the lock, or any other
// write of its entry, gives the holder its whole time to live again, by the clock of the new master. A lock therefore never
// expires early because two clocks differ. Setting the clock of a master's database forward does let its locks expire early.
//
// # Durability
//
// With three or more voters, an acquisition or renewal returns once a majority of the voters holds the entry by position
// (store.Store.Secure), so that it survives every promotion. The grant of a former master that has been replaced meanwhile
// never becomes known: its entry reaches no majority. Releases do not wait: a lost release makes a lock last longer.
//
// # Waiting
//
// A waiter stands in the queue with a ticket. A lock is granted to the process that asks for the lock, never to a ticket
// alone: after a waiter has gone, nothing is granted. A free lock goes to the first ticket in the queue, whichever process
// has put the ticket there. The process of a waiter renews its tickets, all with one
// write, and removes the ticket when the waiter goes away. The ticket of
// a process that has died ends after ticketTTL.
//
// # Protection
//
// A lock with Protects set guards the key of its name: until the lock ends, a write to that key needs the fence. The master
// counts its guards (see partition.GuardsUnknown), so that writes look for locks only while there is one.
package lock
