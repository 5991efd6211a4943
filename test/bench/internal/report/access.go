package report

// The systems of the access phase. Each Runnel has embedded partitions; "keyed" means that the server demands an API key,
// and "tls" that the server speaks TLS as well.
const (
	OpenCeiling   = "ceiling-open"
	SecureCeiling = "ceiling-tls"
	OpenRunnel    = "runnel-embedded-open"
	KeyedRunnel   = "runnel-embedded-keyed"
	SecureRunnel  = "runnel-embedded-keyed-tls"
)

// AccessSystems lists the systems of the access phase, in the order of the tables.
var AccessSystems = []string{OpenRunnel, KeyedRunnel, SecureRunnel, OpenCeiling, SecureCeiling}

// AccessPoints returns the points of the access phase.
func AccessPoints() []Point { return []Point{GetMany, putMany} }

// accessRatios compare requests with a key with requests without, and the share of the ceiling that is reached over TLS
// with the share that is reached without. A TLS connection costs both servers the same, so the second ratio shows only what
// Runnel itself loses.
func accessRatios() []ratio {
	var all []ratio
	for _, p := range AccessPoints() {
		between := func(name, ours, other string, target float64) ratio {
			return ratio{name: p.Case + name, phase: AccessPhase, ours: ours, other: other, ourPoint: p, otherPoint: p, metric: Rate, target: target}
		}
		plain := between("-open/ceiling", OpenRunnel, OpenCeiling, 0)
		secure := between("-keyed-tls/ceiling-tls", SecureRunnel, SecureCeiling, 0)
		relative := between("-keyed-tls/ceiling-tls/open", SecureRunnel, SecureCeiling, 0.8)
		relative.base = &plain
		all = append(all, between("-keyed/open", KeyedRunnel, OpenRunnel, 0.95), plain, secure, relative)
	}
	return all
}
