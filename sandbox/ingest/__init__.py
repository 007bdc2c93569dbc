"""Files in, a read-only snapshot with integer unit ids out. `ensure.py` is the way in; a confined child reads rows."""
