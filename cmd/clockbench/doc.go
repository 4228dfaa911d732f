// Command clockbench measures clockd's own node where the truth is known, in a deterministic simulation, and NTP servers of any make
// where it is not.
//
//	clockbench scenarios               what there is to measure in
//	clockbench sim lan_sw --seeds 1-5  our figures beside those of chrony, tuned chrony and an oracle
//	clockbench sim --all --json        everything, for a program
//	clockbench sim lan_sw --out run    with result.json, series, report.html and pictures
//	clockbench report before after     runs side by side
//	clockbench rerun run               repeats a run, and compares
//	clockbench observe HOST...         NTP servers over time, and who disagrees with whom
//
// Exit codes: 0 all is well; 1 an error; 2 a mistake on the command line; 3 an interval did not contain true time although the
// scenario's assumptions hold, or a server is proved to have broken its promise; 4 a repeated run gave something else.
package main
