// Package cors gives pages of configured origins the use of the API. Pages of foreign origins can neither read nor change
// anything.
//
// A page of a configured origin may send every request and read the answers, also those of errors (the CORS protocol of
// the Fetch standard). Such a page proves its rights by an API key of its own: browsers are never asked to send their
// cookies or certificates (there is no Access-Control-Allow-Credentials), and a change with these is refused.
package cors
