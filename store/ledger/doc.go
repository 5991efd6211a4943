// Package ledger keeps accounts and moves money between them, on a store with updates that are atomic on a master.
//
// An amount is a whole number of minor units. Every transfer has an id that is unique for the account at which its record
// lies, and takes effect at most once. The account @world stands for everything outside: a deposit is a transfer from @world,
// and a withdrawal is a transfer to @world, so that all balances always add up to zero.
//
// # Entries
//
// Each name begins with an account in braces, which decides about the slot: an account, its transfers and its history have
// the same master.
//
//	account/{a}                    balance, held and pending money, name, e-mail
//	transfer/{payer}/id            the record of a transfer: postings and status
//	credit/{payee}/{payer}/id      the payee's side of a transfer with two updates: the credited amount, or a refusal
//	history/{a}/<inverted revision> a line for each change of an account
//	pending/<µs>/{payer}/id        the queue of unfinished transfers and reversals
//	due/<µs>/{payer}/id            the queue of holds, by their expiry
//	index/<word>/{a}               the words by which accounts are found
//	world/{slot}                   the balances of @world towards the accounts of a slot, by currency
//
// # Transfers
//
// If all accounts have the same master, a transfer is a single Update. Otherwise the record at the payer is the queue: the debit
// writes the record as PENDING, the credit writes a row at the payee, and the completion makes the record POSTED, or refunds
// the payer and makes the record FAILED. Each step is an Update of its own that does nothing if it was done before, so anybody may
// repeat it: the process that took the request, and [Ledger.Run] in every process. No step begins, and nothing is answered, before the step before
// it is safe: see Ledger.ensureHeld.
//
// [Ledger.Verify] adds everything up again on any partition, as of a single moment. When the books do not add up, [Ledger.Halt] stops
// all writes of the ledger in every process.
package ledger
