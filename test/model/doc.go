// Command model checks the protocol by which the mastership of slots moves between partitions, on a simulation.
//
// Partitions are passive databases: each step of a process touches one partition, atomically. A scheduler interleaves the
// steps of API processes, sync processes and movers at random. Links between a process and a partition break, partitions
// crash and hang, statements arrive late, processes crash and pause, clocks run at different rates, and an accepted map is
// visible before the map is durable. After a time of faults everything heals, and the invariants are checked. A seed
// determines a run, so that a violation can be replayed:
//
//	go run ./test/model -from 1 -seeds 10000 -partitions 3
//	go run ./test/model -from 42 -seeds 1 -without waitForLeases
//
// Each rule of the protocol can be taken away by its name. The tests check that the simulation then finds a violation, at
// random or, where random schedules seldom find one, in a directed schedule.
//
// Not modelled: changes of voters, a promotion with two partitions, restored voters, the collection of tombstones, and
// databases that lose durable commits.
package main
