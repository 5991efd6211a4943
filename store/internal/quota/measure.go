package quota

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// part is the use of a quota by the entries of a master. Book.mu guards the fields.
type part struct {
	used    Amount
	last    *measurement // complete; nil: used is the growth since the start of the process
	running *measurement
}

// measurement is a walk through the rows of a prefix on a master.
type measurement struct {
	sum   Amount   // use by the rows that were read, with the growth of their keys since
	steps []step   // that were read, in the order of keys
	open  bool     // a step is being read
	log   []Change // changes of unread keys since the open step began
	lost  bool     // the log was too small
}

// step is the end of a statement's rows.
type step struct {
	last partition.Key      // "": no row follows
	at   partition.Revision // every commit up to this revision is in the sum, and no later commit
}

// maxLog bounds the changes beside a step, which is far too short for so many.
const maxLog = 1 << 16

// stepOf is the step that has read a key; nil: the key was not read yet.
func (m *measurement) stepOf(k partition.Key) *step {
	i := sort.Search(len(m.steps), func(i int) bool { return m.steps[i].reaches(k) })
	if i == len(m.steps) {
		return nil
	}
	return &m.steps[i]
}

func (s *step) reaches(k partition.Key) bool { return s.last == "" || k <= s.last }

// includes reports whether the change was stored before its key was read.
func (m *measurement) includes(c *Change) bool {
	s := m.stepOf(c.Key)
	return s != nil && c.Revision <= s.at
}

// record counts a change beside the measurement. A change of an unread key is counted when the key
// is read; only the step that is being read may have missed the change.
func (m *measurement) record(c *Change) {
	switch s := m.stepOf(c.Key); {
	case s != nil && c.Revision > s.at:
		m.sum.add(c.Growth)
	case s == nil && m.open && len(m.log) == maxLog:
		m.lost = true
	case s == nil && m.open:
		m.log = append(m.log, *c)
	}
}

// endStep adds the rows of a step, and the logged changes that the step has missed.
func (m *measurement) endStep(u partition.Usage) {
	end := step{u.Last, u.Revision}
	m.sum.add(Amount{u.Keys, u.Bytes})
	for i := range m.log {
		if c := &m.log[i]; end.reaches(c.Key) && c.Revision > end.at {
			m.sum.add(c.Growth)
		}
	}
	m.steps = append(m.steps, end)
	clear(m.log)
	m.open, m.log = false, m.log[:0]
}

// Master is a partition with entries to measure.
type Master interface {
	Name() string
	Usage(ctx context.Context, s partition.Span) (partition.Usage, error)
}

// Measure measures the use of every quota on the masters, each by its own entries. A statement may
// take at most timeout. A master that fails keeps its last known use.
func (b *Book) Measure(ctx context.Context, masters []Master, timeout time.Duration) error {
	var errs []error
	for _, a := range *b.accounts.Load() {
		complete := true
		for _, m := range masters {
			if err := b.measure(ctx, a, m, timeout); err != nil {
				complete = false
				errs = append(errs, fmt.Errorf("measure %q on %s: %w", a.prefix, m.Name(), err))
			}
		}
		if complete {
			b.mu.Lock()
			a.measuredAt = time.Now()
			b.mu.Unlock()
		}
	}
	return errors.Join(errs...)
}

// A step reads the number of rows that takes about stepTime. After the first measurement, a pause of
// pauseFactor times a step's time follows each step, so that measuring occupies a tenth of a connection.
const (
	firstStepRows = 100
	minStepRows   = 10
	maxStepRows   = 10_000
	stepTime      = 50 * time.Millisecond
	pauseFactor   = 9
)

var errBusy = errors.New("too many changes beside a statement")

// measure measures a quota on a master.
func (b *Book) measure(ctx context.Context, a *account, m Master, timeout time.Duration) error {
	running := &measurement{}
	b.mu.Lock()
	p := a.part(m.Name())
	p.running = running
	w := walk{book: b, master: m, prefix: a.prefix, timeout: timeout, hurry: p.last == nil, running: running}
	b.mu.Unlock()
	err := w.run(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	p.running = nil
	if err != nil {
		return err
	}
	a.used.subtract(p.used)
	a.used.add(running.sum)
	p.used, p.last = running.sum, running
	return nil
}

// walk reads the rows of a prefix of stored keys, in steps.
type walk struct {
	book    *Book
	master  Master
	prefix  string
	timeout time.Duration // of a step
	hurry   bool          // no pauses
	running *measurement
}

func (w *walk) run(ctx context.Context) error {
	span := partition.Span{From: partition.Key(w.prefix), To: partition.PrefixEnd(partition.Key(w.prefix)), Limit: firstStepRows}
	for {
		began := time.Now()
		u, err := w.readStep(ctx, span)
		if err != nil || u.Last == "" {
			return err
		}
		took := time.Since(began)
		span.From, span.Limit = u.Last+"\x00", nextStepRows(span.Limit, took)
		if w.hurry {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pauseFactor * took):
		}
	}
}

func (w *walk) readStep(ctx context.Context, s partition.Span) (partition.Usage, error) {
	mu := &w.book.mu
	mu.Lock()
	w.running.open = true
	mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	u, err := w.master.Usage(ctx, s)
	if err != nil {
		return u, err
	}
	mu.Lock()
	defer mu.Unlock()
	w.running.endStep(u)
	if w.running.lost {
		return u, errBusy
	}
	return u, nil
}

func nextStepRows(rows int, took time.Duration) int {
	fitting := float64(rows) * float64(stepTime) / float64(max(took, time.Microsecond))
	return int(min(max(fitting, minStepRows), maxStepRows))
}
