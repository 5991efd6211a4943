// Package moves is the work of 'runnel plan', 'runnel move', 'runnel promote', 'runnel leases', 'runnel failover' and 'runnel voters': it prints the
// cluster map and the moves that a request stands for, and carries moves and promotions out.
package moves
