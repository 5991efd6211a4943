// Package pages renders documents as HTML and as plain text, by the templates below templates. Everything on a page is
// escaped, and a page loads nothing from elsewhere.
package pages
