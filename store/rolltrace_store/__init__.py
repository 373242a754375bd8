"""The store: sessions, workers, traces and the log, on LMDB. The only part that knows bytes on disk."""
