-- The connection that writes.
PRAGMA journal_mode = WAL;
-- Each commit is on the disk before it is confirmed; on macOS that takes a call of its own.
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA checkpoint_fullfsync = ON;
-- Rows are written on the thread of the event loop, which must not wait for the disk: all of it waits for the commit.
PRAGMA cache_spill = OFF;
-- Moving the log into the database file makes a commit wait. Every 64 MiB (and not 4) that is too rare to be seen in a p99, and less
-- work in all, since a page that was written many times is moved once.
PRAGMA wal_autocheckpoint = 16000;
-- A reader that takes long, such as a backup, makes the log grow; give the space back afterwards.
PRAGMA journal_size_limit = 67108864;
