"""Who is asking: tokens, keys, licences."""
