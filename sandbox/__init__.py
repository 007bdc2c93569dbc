"""The data domain: raw data, and everything that may touch it."""

import os

# Before numpy is imported: its linear algebra waits for threads that others keep from running, and takes 20 times as
# long on a busy machine; one thread does as well for what the linear audit factors.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
