-- The connection that writes.
PRAGMA journal_mode = WAL;
-- Each commit is on the disk before it is confirmed; on macOS that takes a call of its own.
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA checkpoint_fullfsync = ON;
-- Rows are written on the thread of the event loop, which must not wait for the disk: all of it waits for the commit.
PRAGMA cache_spill = OFF;
-- A reader that takes long, such as a backup, makes the log grow; give the space back afterwards.
PRAGMA journal_size_limit = 67108864;
