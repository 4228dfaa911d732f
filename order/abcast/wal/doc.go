// Package wal is the disk of a member of a group: a log of opaque records that is only appended to, snapshots, and the counter of
// the member's incarnations.
//
// The main type is Log. Records that are appended together, or while the disk is busy, are written as one frame with one checksum
// and made durable by one fdatasync (group commit). What "durable" means is the Mode's.
//
// Invariants. What was reported durable is read again after a crash, in the same order, or Open fails and says where and why: nothing is
// skipped. A frame at the very end that a crash cut short is removed, and Recovery says so; a bad frame that others follow, or
// that differs from what was written by one bit, is corruption. After the first failed write or sync the log is frozen: it takes nothing
// more, and nothing more becomes durable, because nobody knows what a disk holds whose sync failed (Rebello et al. 2020, "Can
// applications recover from fsync failures?"). Telling torn from corrupt: Alagappan et al. 2018, "Protocol-aware recovery".
package wal
