package reason_test

import (
	"errors"
	"fmt"

	"github.com/clockd/clockd/reason"
)

// A code is an error, a stable name for programs and a sentence for people.
func ExampleCode() {
	err := fmt.Errorf("page /run/clockd/page: %w", reason.PageVersion)
	fmt.Println(errors.Is(err, reason.PageVersion))
	fmt.Println(reason.PageVersion)
	fmt.Println(reason.PageVersion.Explain())
	// Output:
	// true
	// page version: the page has a format version that this reader does not know
	// the page has a format version that this reader does not know
}
