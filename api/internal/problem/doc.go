// Package problem has the errors that the API answers with: the table of problem types, each with its slug, status and
// explanation (RFC 9457), and [Error], which names a type and says in Detail how this request met it. Packages
// below the API return an *Error wherever they know the answer; the API maps the errors of the store.
package problem
