package metrics

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// FuzzRequest shows that whatever is taken for a request Go's own server takes for the
// same one, and that nothing is read without end.
func FuzzRequest(f *testing.F) {
	f.Add("GET /metrics HTTP/1.1\r\nHost: localhost:9477\r\nAccept: */*\r\n\r\n")
	f.Add("HEAD /metrics?x HTTP/1.0\n\n")
	f.Add("GET  /metrics HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, sent string) {
		method, target, err := request(strings.NewReader(sent))
		if err != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sent)))
		if err != nil {
			return // it is stricter about headers, which count for nothing here
		}
		if r.Method != method || r.RequestURI != target {
			t.Errorf("%q is %q %q, and %q %q by net/http", sent, method, target, r.Method, r.RequestURI)
		}
	})
}
