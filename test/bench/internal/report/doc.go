// Package report holds the measurements of a run of the bench, compares them by ratios with targets, and writes them as
// text, JSON, Markdown and a chart.
package report
