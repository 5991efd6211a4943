// Package browser tests in a real browser, Chromium, that pages of other sites and stored values can do no harm.
//
// Each test has a control: the same attack on a server without protection must succeed, or the test fails.
package browser
