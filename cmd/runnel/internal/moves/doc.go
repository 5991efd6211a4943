// Package moves is the work of 'runnel plan' and 'runnel move': it prints the cluster map and the moves that a request
// stands for, and carries the moves out.
package moves
