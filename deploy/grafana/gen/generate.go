package main

//go:generate go test -run TestDashboardsAreCurrent -update .
