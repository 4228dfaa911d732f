package promexport

//go:generate go test -run TestDocumentIsCurrent -update .
